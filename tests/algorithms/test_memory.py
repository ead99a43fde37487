"""Memory for every algorithm, alone and with masks; in files; what does not go with it is refused."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants import REINFORCE, SPO, TRPO, ClipPPO, KLPenaltyPPO
from sb3_ppo_variants.policies import MaskableRecurrentActorCriticPolicy
from sb3_ppo_variants.rollouts.buffers import MaskableRecurrentDictRolloutBuffer, MaskableRecurrentRolloutBuffer
from tests.algorithms.models import ALGORITHMS, parameters_of
from tests.environments import MaskedWalk, RandomWalk
from tests.forms import long
from tests.parity.comparing import assert_same_tensors, make_env

SMALL: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": [8]}
N_STEPS = 16
MASKED: dict[str, Any] = {"actions": "discrete", "allowed": 0.5}


def with_memory(
    algorithm: type = ClipPPO, policy: Any = "MlpLstmPolicy", env: VecEnv | dict[str, Any] | None = None, **extra: Any
) -> Any:
    settings: dict[str, Any] = {"n_steps": N_STEPS, "seed": 3, "update_backend": "auto"}
    if algorithm is not REINFORCE:
        settings["batch_size"] = N_STEPS
    if algorithm not in (REINFORCE, TRPO):
        settings["n_epochs"] = 2
    settings |= extra
    settings["policy_kwargs"] = SMALL | settings.get("policy_kwargs", {})
    return algorithm(policy, env if isinstance(env, VecEnv) else make_env(**env or {}), **settings)


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


# ---- Every algorithm ----

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "box, normalised, fast form": (
        "MlpLstmPolicy",
        {"n_envs": 2, "normalize": True},
        {"sequence_length": 8, "policy_kwargs": {"n_lstm_layers": 2}},
    ),
    "dict, multi_binary": (
        "MultiInputLstmPolicy",
        {"observations": "dict", "actions": "multi_binary"},
        {"policy_kwargs": {"enable_critic_lstm": False}},
    ),
    "masks": ("MlpLstmPolicy", {"actions": "multi_binary", "allowed": 0.5, "n_envs": 2}, {"use_masking": True}),
    "masks, dict, fast form": (
        "MultiInputLstmPolicy",
        {"observations": "dict", "actions": "multi_discrete", "allowed": 0.5},
        {
            "use_masking": True,
            "sequence_length": 4,
            "policy_kwargs": {"shared_lstm": True, "enable_critic_lstm": False},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_learns_and_goes_on_after_a_load(algorithm: type, case: str, tmp_path) -> None:
    policy, env, settings = CASES[case]
    model = with_memory(algorithm, policy, env, **settings)
    if algorithm is not TRPO:
        model.measure_kl = True
    before = parameters_of(model)
    model.learn(1)
    assert model.active_backend == "autograd"
    assert 0 <= model.logger.name_to_value["train/kl"] < 1
    assert np.abs(parameters_of(model) - before).max() > 0
    model.save(tmp_path / "zip")
    model.save_safe(tmp_path / "safe")
    results = []
    for load, name in ((algorithm.load, "zip"), (algorithm.load_safe, "safe")):  # type: ignore[attr-defined]
        loaded = load(tmp_path / name, env=make_env(**env))
        assert (loaded.use_masking, loaded.sequence_length, loaded.refresh_states) == (
            settings.get("use_masking", False), settings.get("sequence_length"), True,
        )  # fmt: skip
        assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")
        loaded.set_random_seed(0)
        results.append(parameters_of(loaded.learn(1, reset_num_timesteps=False)))
        assert np.isfinite(results[-1]).all()
        if loaded.use_masking:
            assert not any(loaded.get_env().get_attr("n_invalid"))
    np.testing.assert_array_equal(*results)


def test_images() -> None:
    for env, extra in (({"actions": "discrete"}, {}), (MASKED, {"use_masking": True})):
        model = with_memory(SPO, "CnnLstmPolicy", {"observations": "image", **env}, n_steps=8, batch_size=8, **extra)
        assert np.isfinite(parameters_of(model.learn(8))).all()


def test_masks_that_allow_everything_change_nothing_but_rounding(algorithm: type) -> None:
    parameters = [
        parameters_of(
            with_memory(
                algorithm, env={"actions": "discrete", "allowed": 1.0, "n_envs": 2}, use_masking=masks,
                sequence_length=None if algorithm is ClipPPO else 8,
            ).learn(1)
        )
        for masks in (True, False)
    ]  # fmt: skip
    np.testing.assert_allclose(*parameters, rtol=0, atol=2e-4 if algorithm is TRPO else 1e-5)


SETTINGS: dict[str, tuple[type, dict[str, Any]]] = {
    "thinned sequences": (TRPO, {"sub_sampling_factor": 3}),
    "the other direction": (TRPO, {"kl_direction": "new_old", "kl_reduction": "mean", "cg_start": "noise"}),
    "thinned short sequences, no line search": (
        TRPO,
        {"sequence_length": 4, "sub_sampling_factor": 2, "line_search": False},
    ),
    "a critic's rate": (TRPO, {"learning_rate_vf": 1e-2}),
    "a critic's rate too": (ClipPPO, {"learning_rate_vf": 1e-2}),
    "no baseline": (REINFORCE, {"baseline": False}),
    "no baseline, short sequences": (REINFORCE, {"baseline": False, "sequence_length": 4}),
    "adaptive penalty": (KLPenaltyPPO, {"kl_coef": 0.5, "target_kl": 0.01, "sequence_length": 8}),
    "early stop": (ClipPPO, {"target_kl": 1e-6, "sequence_length": 8, "learning_rate": 1e-2}),
    "squashed gSDE": (ClipPPO, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "no bootstrap": (ClipPPO, {"bootstrap_truncated": False, "refresh_states": False, "sequence_length": 8}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    algorithm, settings = SETTINGS[name]
    model = with_memory(algorithm, env={"n_envs": 2}, **settings).learn(4 * N_STEPS)
    assert np.isfinite(parameters_of(model)).all()
    log = model.logger.name_to_value
    if algorithm is TRPO and settings.get("line_search", True):
        assert log["train/is_line_search_success"] == 1
        assert 0 < log["train/kl_divergence_loss"] <= 0.0101
    if name == "early stop":
        assert model._n_updates < 4
    if "learning_rate_vf" in settings:
        groups = model.policy.optimizer.param_groups
        assert {id(p) for p in model.policy.lstm_critic.parameters()} <= {id(p) for p in groups[1]["params"]}
        assert {id(p) for p in model.policy.lstm_actor.parameters()} <= {id(p) for p in groups[0]["params"]}


# ---- The fast form ----


def whole_batch_step(monkeypatch, **settings: Any) -> Any:
    # sb3-contrib's minibatches begin at a random row and so cut one episode. Here at row 0.
    monkeypatch.setattr(np.random, "randint", lambda *_args, **_kwargs: 0)
    env = {"n_envs": 3, "actions": "discrete"}
    return with_memory(env=env, batch_size=None, n_epochs=1, **settings).learn(1)


@pytest.mark.parametrize("kwargs", [{}, {"shared_lstm": True, "enable_critic_lstm": False, "n_lstm_layers": 2}])
def test_it_takes_the_same_step_where_no_episode_is_cut(kwargs: dict[str, Any], monkeypatch) -> None:
    parameters = [
        parameters_of(whole_batch_step(monkeypatch, sequence_length=length, policy_kwargs=kwargs))
        for length in (None, N_STEPS)
    ]
    np.testing.assert_allclose(*parameters, rtol=0, atol=2e-6)


def test_its_losses_are_the_same_while_its_states_are_fresh(monkeypatch) -> None:
    logs = [whole_batch_step(monkeypatch, sequence_length=length).logger.name_to_value for length in (None, 3)]
    for key in ("policy_gradient_loss", "value_loss", "entropy_loss"):
        assert logs[1][f"train/{key}"] == pytest.approx(logs[0][f"train/{key}"], rel=1e-4, abs=1e-6)


def test_reinforce_steps_along_the_gradient_of_the_unrolled_policy() -> None:
    """Over finished episodes only, from one step of the LSTM after another."""
    plain_gradient = {"normalize_advantage": False, "max_grad_norm": None, "learning_rate": 1.0}
    model = with_memory(
        REINFORCE, env={"n_envs": 2, "actions": "discrete"}, n_steps=32, baseline=False, sequence_length=32,
        policy_kwargs={"optimizer_class": th.optim.SGD}, **plain_gradient,
    )  # fmt: skip
    before = parameters_of(model)
    _, callback = model._setup_learn(1, None)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 32)
    model.train()
    buffer, finished, moved = model.rollout_buffer, model._finished, parameters_of(model) - before
    assert 0 < finished.sum() < 64
    th.nn.utils.vector_to_parameters(th.as_tensor(before), model.policy.parameters())
    log_probs = []
    for row in range(64):
        if row in (0, 32):
            state = (th.zeros(1, 1, 8), th.zeros(1, 1, 8))
        start = th.as_tensor(buffer.episode_starts[row])
        distribution, state = model.policy.get_distribution(th.as_tensor(buffer.observations[[row]]), state, start)
        log_probs.append(distribution.log_prob(th.as_tensor(buffer.actions[row]).long())[0])
    objective = (th.stack(log_probs) * th.as_tensor(buffer.advantages[:, 0]))[finished].mean()
    parameters = list(model.policy.parameters())
    gradients = th.autograd.grad(objective, parameters, allow_unused=True, materialize_grads=True)
    expected = th.nn.utils.parameters_to_vector(gradients).detach().numpy()
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# ---- The arguments ----


class OwnBuffer(RecurrentRolloutBuffer):
    """Draws by sb3-contrib's code."""


class OwnPolicy(RecurrentActorCriticPolicy):
    """Evaluates in its own way."""

    def evaluate_actions(self, obs: Any, actions: Any, lstm_states: Any, episode_starts: Any) -> Any:
        distribution, _ = self.get_distribution(obs, lstm_states.pi, episode_starts)
        values = self.predict_values(obs, lstm_states.vf, episode_starts)
        return values, distribution.log_prob(actions), distribution.entropy()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no memory": (
        {"policy": "MlpPolicy", "sequence_length": 8, "policy_kwargs": {}},
        'sequence_length=8 is for policies with memory, and ActorCriticPolicy has none: pass "MlpLstmPolicy"',
    ),
    "no multiple": ({"sequence_length": 7}, r"batch_size=16 is not a multiple of sequence_length=7: .* Pass 14,"),
    "zero": ({"sequence_length": 0}, "sequence_length=0"),
    "no boolean": ({"refresh_states": "often"}, "refresh_states='often' is unknown"),
    "a plain buffer": ({"rollout_buffer_class": RolloutBuffer}, "keeps its states; RolloutBuffer does not"),
    "a buffer without masks": (
        {"use_masking": True, "env": MASKED, "rollout_buffer_class": RecurrentRolloutBuffer},
        "keeps the masks, and RecurrentRolloutBuffer does not",
    ),
    "a policy without masks": (
        {"use_masking": True, "env": MASKED, "policy": RecurrentActorCriticPolicy},
        "needs a policy that takes masks, and RecurrentActorCriticPolicy does not",
    ),
    "the closed form": ({"update_backend": "closed_form"}, "update_backend='closed_form' cannot run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    settings, says = REFUSED[name]
    if name == "no memory":
        with pytest.raises(ValueError, match=says):
            ClipPPO("MlpPolicy", make_env(), sequence_length=8)
        return
    with pytest.raises((ValueError, TypeError), match=says):
        with_memory(**settings)


def test_a_length_is_refused_for_a_buffer_that_draws_itself() -> None:
    with pytest.raises(ValueError, match="sequence_length=8 with a OwnBuffer, which draws minibatches itself"):
        with_memory(rollout_buffer_class=OwnBuffer, sequence_length=8).learn(1)


def make_policy(*args: Any, **kwargs: Any) -> RecurrentActorCriticPolicy:
    return RecurrentActorCriticPolicy(*args, **kwargs)


def test_buffers_may_be_made_by_functions_and_policies_with_memory_may_not() -> None:
    with pytest.raises(ValueError, match=r"makes a policy with memory.* pass the class, RecurrentActorCriticPolicy"):
        with_memory(policy=make_policy)

    def make_buffer(*args: Any, **kwargs: Any) -> RecurrentRolloutBuffer:
        return RecurrentRolloutBuffer(*args, **kwargs)

    with_memory(rollout_buffer_class=make_buffer).learn(1)


def test_buffers_follow_from_observations_and_masks() -> None:
    assert type(with_memory().rollout_buffer) is RecurrentRolloutBuffer
    masked = with_memory(env=MASKED, policy=MaskableRecurrentActorCriticPolicy)
    assert masked.use_masking
    assert type(masked.rollout_buffer) is MaskableRecurrentRolloutBuffer
    masked = with_memory(policy="MultiInputLstmPolicy", env=MASKED | {"observations": "dict"}, use_masking=True)
    assert type(masked.rollout_buffer) is MaskableRecurrentDictRolloutBuffer
    with pytest.raises(NotImplementedError, match=r"use rollouts\.minibatches"):
        masked.rollout_buffer.get(8)


def test_a_policy_of_ones_own_learns_the_same() -> None:
    one, other = (
        with_memory(KLPenaltyPPO, policy, {"n_envs": 2}, kl_coef=0.5, sequence_length=8).learn(1)
        for policy in (OwnPolicy, "MlpLstmPolicy")
    )
    np.testing.assert_allclose(parameters_of(one), parameters_of(other), rtol=1e-4, atol=1e-6)


# ---- Acting ----


class ReplacesPolicy(BaseCallback):
    """Puts another policy object in the model's place amid a rollout."""

    def _on_step(self) -> bool:
        if self.n_calls == 5:
            with th.no_grad():
                self.model.policy.action_dist = copy.copy(self.model.policy.action_dist)
                self.model.policy = copy.copy(self.model.policy)
        return True


def test_a_policy_replaced_amid_a_rollout_remembers() -> None:
    one, other = (with_memory().learn(1, callback) for callback in (ReplacesPolicy(), None))
    np.testing.assert_array_equal(one.rollout_buffer.hidden_states_pi, other.rollout_buffer.hidden_states_pi)
    np.testing.assert_array_equal(parameters_of(one), parameters_of(other))


def test_a_copy_of_a_model_has_its_own_memory() -> None:
    model = with_memory()
    copied = copy.deepcopy(model)
    model.learn(1)
    assert all((part == 0).all() for of in copied._last_lstm_states for part in of)
    assert any((part != 0).any() for of in model._last_lstm_states for part in of)


def test_another_number_of_environments_after_a_load(tmp_path) -> None:
    with_memory(env={"n_envs": 2}).learn(1).save(tmp_path / "model")
    loaded = ClipPPO.load(tmp_path / "model", env=make_env(n_envs=3))
    assert loaded._last_lstm_states.pi[0].shape == (1, 3, 8)
    loaded.learn(1)


def test_sb3s_evaluation() -> None:
    model = with_memory()
    callback = EvalCallback(make_env(), eval_freq=10, n_eval_episodes=1, verbose=0, warn=False)
    model.learn(1, callback)
    assert np.isfinite(callback.last_mean_reward)
    assert np.isfinite(evaluate_policy(model, make_env(n_envs=2), n_eval_episodes=2)[0])


def test_squashed_actions_reach_the_environment_scaled() -> None:
    """sb3-contrib passes them on as they are."""
    taken = []

    class Wide(RandomWalk):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Box(10.0, 20.0, (2,), np.float32)

        def step(self, action: Any) -> Any:
            taken.append(action)
            return super().step(action)

    kwargs = {"squash_output": True}
    with_memory(env=make_vec_env(Wide), use_sde=True, policy_kwargs=kwargs).learn(1)
    assert np.min(taken) >= 10
    assert np.std(taken) > 0.1


def test_a_nan_is_named() -> None:
    class WithNaN(MaskedWalk):
        total_steps = 0

        def step(self, action: Any) -> Any:
            self.total_steps += 1
            observation, *others = super().step(action)
            return (observation * (np.nan if self.total_steps >= 3 else 1), *others)

    for extra in ({}, {"use_masking": True}):
        model = with_memory(env=make_vec_env(WithNaN), **extra)
        with pytest.raises(ValueError, match=r"The observation of environment 0 is not finite: nan"):
            model.learn(1)


# ---- Files ----


@pytest.mark.parametrize("saver", [REINFORCE, TRPO])
def test_every_class_loads_files_with_memory(algorithm: type, saver: type, tmp_path) -> None:
    saved = with_memory(saver, env=MASKED, use_masking=True, sequence_length=4)
    saved.save(tmp_path / "zip")
    saved.save_safe(tmp_path / "safe")
    for loaded in (algorithm.load(tmp_path / "zip"), algorithm.load_safe(tmp_path / "safe")):  # type: ignore[attr-defined]
        assert (loaded.use_masking, loaded.sequence_length) == (True, 4)
        assert type(loaded.policy) is MaskableRecurrentActorCriticPolicy
        np.testing.assert_array_equal(parameters_of(loaded), parameters_of(saved))


def test_the_length_may_change_with_a_load(tmp_path) -> None:
    with_memory().save(tmp_path / "model")
    assert ClipPPO.load(tmp_path / "model", env=make_env(), sequence_length=8).learn(1).sequence_length == 8
    with pytest.raises(TypeError, match="sequence_length"):
        ClipPPO.load(tmp_path / "model", sequence_length="8")
    ClipPPO("MlpPolicy", make_env(), n_steps=64).save(tmp_path / "plain")
    with pytest.raises(ValueError, match="is for policies with memory"):
        ClipPPO.load(tmp_path / "plain", sequence_length=8)


# ---- What needs both ----


class NamedDoors(gym.Env):
    """
    The first observation says which of two doors is right, the second asks. Each door has four names, of which only
    one, drawn anew and not observed, is valid at a time: masks say which. A step through the right door is worth 1.
    """

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(8)

    def _observe(self) -> np.ndarray:
        self.valid = self.np_random.integers(4, size=2)
        return np.array([0.0, 1.0] if self.asked else [self.door * 2.0 - 1.0, 0.0], np.float32)

    def action_masks(self) -> np.ndarray:
        masks = np.zeros((4, 2), bool)
        masks[self.valid, [0, 1]] = True
        return masks.ravel()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.asked, self.door = False, int(self.np_random.integers(2))
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        name, door = divmod(int(action), 2)
        reward = float(self.asked and door == self.door and name == self.valid[door])
        terminated, self.asked = self.asked, True
        return self._observe(), reward, terminated, False, {}


@pytest.mark.parametrize(
    ("policy", "use_masking", "at_least", "at_most"),
    [("MlpLstmPolicy", True, 0.9, 1.0), long("MlpPolicy", True, 0.3, 0.7), long("MlpLstmPolicy", False, 0.0, 0.5)],
)
def test_some_tasks_need_memory_and_masks(policy: str, use_masking: bool, at_least: float, at_most: float) -> None:
    is_recurrent = policy == "MlpLstmPolicy"
    kwargs = {"net_arch": [16]} | ({"lstm_hidden_size": 16} if is_recurrent else {})
    model = ClipPPO(
        policy, make_vec_env(NamedDoors, n_envs=32, seed=0), n_steps=8, batch_size=64, n_epochs=4, learning_rate=2e-2,
        seed=0, use_masking=use_masking, sequence_length=2 if is_recurrent else None, policy_kwargs=kwargs,
    )  # fmt: skip
    model.learn(15 * 256)
    mean_return = np.mean([info["r"] for info in model.ep_info_buffer])
    assert at_least <= mean_return <= at_most


@pytest.mark.cuda
def test_cuda(algorithm: type) -> None:
    """cuDNN's LSTM has no gradient in evaluation mode, and no second one."""
    for settings in ({}, {"use_masking": True}, {"sequence_length": 8}, {"learning_rate_vf": 1e-3}):
        model = with_memory(algorithm, device="cuda", env=MASKED, **settings).learn(2 * N_STEPS)
        assert all(parameter.is_cuda for parameter in model.policy.parameters())
