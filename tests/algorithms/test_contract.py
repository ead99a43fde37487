"""What every algorithm of the family does, walked through by one test each."""

import copy
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants import ClipPPO
from tests.algorithms.models import ALGORITHMS, OwnBuffer, OwnPolicy, make, parameters_of, settings_for
from tests.environments import RandomWalk
from tests.parity.comparing import assert_same_tensors, make_env


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


@pytest.mark.parametrize(
    ("policy", "env", "extra"),
    [
        ("MlpPolicy", {"actions": "box"}, {}),
        ("MlpPolicy", {"actions": "discrete"}, {}),
        ("MlpPolicy", {"actions": "multi_discrete"}, {}),
        ("MlpPolicy", {"actions": "multi_binary"}, {}),
        ("MlpPolicy", {"observations": "discrete", "n_envs": 2}, {}),
        ("MultiInputPolicy", {"observations": "dict", "actions": "discrete"}, {}),
        ("CnnPolicy", {"observations": "image", "actions": "discrete"}, {}),
        ("MlpPolicy", {}, {"use_sde": True, "sde_sample_freq": 8}),
        ("MlpPolicy", {}, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
        ("MlpPolicy", {"normalize": True, "n_envs": 2}, {}),
        ("MlpPolicy", {}, {"learning_rate_vf": 1e-3}),
        ("MultiInputPolicy", {"observations": "dict"}, {"learning_rate_vf": "lin_0.001"}),
        ("MlpPolicy", {}, {"max_grad_norm": None, "bootstrap_truncated": False, "normalize_advantage": "rollout"}),
        ("MlpPolicy", {}, {"measure_kl": True, "normalize_advantage": False, "learning_rate": "lin_0.001"}),
    ],
)
def test_trains_saves_and_loads(algorithm, policy, env, extra, tmp_path) -> None:
    model = make(algorithm, policy, env, **extra)
    assert isinstance(model, OnPolicyAlgorithm)
    before = parameters_of(model)
    model.learn(2 * 64 * model.n_envs)
    after = parameters_of(model)
    assert np.isfinite(after).all()
    assert not np.array_equal(before, after)

    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=make_env(**env))
    assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")
    observation = model.env.reset()
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
    loaded.learn(64 * loaded.n_envs, reset_num_timesteps=False)
    assert loaded.num_timesteps == 3 * 64 * loaded.n_envs


def test_same_seed_same_result(algorithm) -> None:
    first, second = (parameters_of(make(algorithm).learn(128)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_learn_in_two_parts_is_learn_in_one(algorithm) -> None:
    whole = make(algorithm).learn(192)
    parts = make(algorithm).learn(128)
    parts.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(whole), parameters_of(parts))


def test_set_parameters_does_not_share_memory(algorithm) -> None:
    teacher, pupil = make(algorithm).learn(64), make(algorithm, seed=9)
    pupil.set_parameters(teacher.get_parameters())
    kept = copy.deepcopy(teacher.get_parameters())
    pupil.learn(64)
    assert_same_tensors(teacher.get_parameters(), kept, "teacher")


def test_set_parameters_takes_what_has_just_been_computed(algorithm) -> None:
    model = make(algorithm)
    moved = {name: p + 0.01 * th.ones_like(p) for name, p in model.policy.named_parameters()}
    assert all(tensor.grad_fn is not None for tensor in moved.values())
    before = parameters_of(model)
    model.set_parameters({"policy": moved}, exact_match=False)
    np.testing.assert_allclose(parameters_of(model), before + 0.01, rtol=1e-5)
    assert not any(p.data_ptr() == moved[name].data_ptr() for name, p in model.policy.named_parameters())


def test_set_env_and_evaluate(algorithm) -> None:
    model = make(algorithm)
    model.set_env(make_env())
    model.learn(64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mean_reward, _ = evaluate_policy(model, RandomWalk(), n_eval_episodes=2)
    assert np.isfinite(mean_reward)


def test_sb3_callbacks(algorithm, tmp_path) -> None:
    evaluation = EvalCallback(make_env(), eval_freq=32, n_eval_episodes=1, verbose=0, log_path=str(tmp_path))
    model = make(algorithm).learn(10_000, [evaluation, StopTrainingOnMaxEpisodes(max_episodes=8)])
    assert len(evaluation.evaluations_timesteps) > 0
    assert model.num_timesteps < 2000


def test_tensorboard_and_csv(algorithm, tmp_path) -> None:
    model = make(algorithm, tensorboard_log=str(tmp_path / "tb"))
    model.learn(128)
    events = list((tmp_path / "tb").glob(f"{algorithm.__name__}_1/events*"))
    assert len(events) == 1
    model.set_logger(configure(str(tmp_path / "csv"), ["csv"]))
    model.learn(128)
    model.logger.close()
    header = (tmp_path / "csv" / "progress.csv").read_text().splitlines()[0]
    assert "train/explained_variance" in header


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar(algorithm, capsys) -> None:
    assert make(algorithm).learn(64, progress_bar=True).num_timesteps == 64
    assert "64/64" in "".join(capsys.readouterr())


def test_custom_policy(algorithm) -> None:
    model = algorithm(OwnPolicy, make_env(), **settings_for(algorithm, measure_kl=True)).learn(128)
    assert np.isfinite(parameters_of(model)).all()
    assert model.logger.name_to_value["train/kl"] >= 0


def test_custom_buffer(algorithm) -> None:
    model = make(algorithm, rollout_buffer_class=OwnBuffer, measure_kl=True).learn(128)
    assert isinstance(model.rollout_buffer, OwnBuffer)
    assert np.isfinite(parameters_of(model)).all()


class WatchLearningRate(BaseCallback):
    """Assigns ``learning_rate`` after the first rollout, as annealing callbacks do."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.model.learning_rate = 1e-5


def test_learning_rate_may_be_assigned_between_updates(algorithm) -> None:
    model = make(algorithm).learn(64, WatchLearningRate())
    assert model.logger.name_to_value["train/learning_rate"] == 1e-5
    assert {group["lr"] for group in model.policy.optimizer.param_groups} == {1e-5}


def test_common_log_keys(algorithm) -> None:
    log = make(algorithm, measure_kl=True).learn(64).logger.name_to_value
    for key in ("kl", "grad_norm", "ratio_max", "ess", "explained_variance", "std", "n_updates", "learning_rate"):
        assert np.isfinite(log[f"train/{key}"]), key
    assert log["train/kl"] >= 0
    assert 0 < log["train/ess"] <= 1 + 1e-6
    assert log["train/grad_norm"] > 0


def test_env_given_by_name_and_without_vector() -> None:
    assert ClipPPO("MlpPolicy", "CartPole-v1", n_steps=64).learn(64).num_timesteps == 64
    assert ClipPPO("MlpPolicy", gym.make("Pendulum-v1"), n_steps=64).learn(64).num_timesteps == 64


def test_a_user_subclass_needs_only_its_own_arguments() -> None:
    class Mine(ClipPPO):
        def __init__(self, policy, env, *, my_argument=1, **kwargs):
            self.my_argument = my_argument
            super().__init__(policy, env, **kwargs)

    model = Mine("MlpPolicy", make_env(), my_argument=2, clip_range=0.1, n_steps=64)
    assert (model.my_argument, model.clip_range(1.0)) == (2, 0.1)
    with pytest.raises(TypeError, match="did you mean 'my_argument'"):
        Mine("MlpPolicy", make_env(), my_argumnt=2)


def test_subclasses_that_pass_everything_on_work_as_they_do_with_sb3() -> None:
    class Popping(ClipPPO):
        def __init__(self, *args, **kwargs):
            self.mine = kwargs.pop("mine")
            super().__init__(*args, **kwargs)

    class Mixin:
        def __init__(self, *args, extra=0, **kwargs):
            self.extra = extra
            super().__init__(*args, **kwargs)

    class Mixed(Mixin, ClipPPO):
        pass

    assert Popping("MlpPolicy", make_env(), mine=3, n_steps=64).mine == 3
    assert Mixed("MlpPolicy", make_env(), extra=4, n_steps=64).extra == 4


@pytest.mark.cuda
def test_cuda(algorithm) -> None:
    model = make(algorithm, device="cuda", measure_kl=True).learn(128)
    assert all(parameter.is_cuda for parameter in model.policy.parameters())
