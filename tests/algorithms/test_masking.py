"""Masks as an argument, in ``learn`` and ``predict``, and in files; what is not covered by them is refused."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy as evaluate_without_masks
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO
from tests.algorithms.models import ALGORITHMS, make, parameters_of
from tests.environments import MaskedWalk
from tests.parity.comparing import assert_same_tensors, make_env

MASKED: dict[str, Any] = {"actions": "discrete", "allowed": 0.5}


def masked(algorithm: type = ClipPPO, policy: Any = "MlpPolicy", env: dict[str, Any] | None = None, **extra: Any):
    settings = {"use_masking": True, "n_steps": 32, **extra}
    if algorithm is not REINFORCE:
        settings["batch_size"] = 32
    return make(algorithm, policy, MASKED | (env or {}), **settings)


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def algorithm(request) -> type:
    return request.param


# ---- Every algorithm ----

SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "multi_binary, several envs, normalised": (
        "MlpPolicy",
        {"actions": "multi_binary", "n_envs": 2, "normalize": True},
    ),
    "dict": ("MultiInputPolicy", {"observations": "dict", "actions": "multi_discrete"}),
    "image": ("CnnPolicy", {"observations": "image"}),
}


@pytest.mark.parametrize("case", SPACES)
def test_takes_no_invalid_action_and_goes_on_after_a_load(algorithm: type, case: str, tmp_path) -> None:
    policy, env = SPACES[case]
    model = masked(algorithm, policy, env, measure_kl=True)
    before = parameters_of(model)
    model.learn(32 * model.n_envs)
    assert 0 <= model.logger.name_to_value["train/kl"] < 1
    assert np.abs(parameters_of(model) - before).max() > 0
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=make_env(**MASKED | env))
    assert loaded.use_masking
    assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")
    loaded.learn(32 * loaded.n_envs, reset_num_timesteps=False)
    assert np.isfinite(parameters_of(loaded)).all()
    for one in (model, loaded):
        assert not any(one.get_env().get_attr("n_invalid"))


class OwnMaskablePolicy(MaskableActorCriticPolicy):
    """A custom policy: other networks, and its own ``evaluate_actions``."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, net_arch={"pi": [8], "vf": [16]}, **kwargs)

    def evaluate_actions(self, obs: Any, actions: Any, action_masks: Any = None) -> Any:
        distribution = self.get_distribution(obs, action_masks)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()


class OwnMaskableBuffer(MaskableRolloutBuffer):
    """A custom buffer that draws rows in its own way, and does not say which."""

    def get(self, batch_size: int | None = None) -> Any:
        for samples in super().get(None):
            for start in range(0, len(samples.advantages), batch_size or len(samples.advantages)):
                yield type(samples)(*(part[start : start + (batch_size or len(part))] for part in samples))


@pytest.mark.parametrize("custom", [{"policy": OwnMaskablePolicy}, {"rollout_buffer_class": OwnMaskableBuffer}])
def test_policies_and_buffers_of_ones_own(algorithm: type, custom: dict[str, Any]) -> None:
    model = masked(algorithm, **custom, measure_kl=True).learn(64)
    assert model.active_backend == "autograd"
    assert 0 <= model.logger.name_to_value["train/kl"] < 1
    assert np.isfinite(parameters_of(model)).all()
    assert not any(model.get_env().get_attr("n_invalid"))


def test_a_policy_of_ones_own_that_does_the_same_learns_the_same() -> None:
    class Same(MaskableActorCriticPolicy):
        def evaluate_actions(self, obs: Any, actions: Any, action_masks: Any = None) -> Any:
            return super().evaluate_actions(obs, actions, action_masks)

    settings = {"update_backend": "autograd", "kl_coef": 0.5}
    one, other = (masked(policy=policy, **settings).learn(64) for policy in (Same, "MlpPolicy"))
    # Its distributions are computed a second time, and their gradients added in another order.
    np.testing.assert_allclose(parameters_of(one), parameters_of(other), rtol=1e-5, atol=1e-6)


def test_float64_policies() -> None:
    """In closed form; SB3's own forward pass hands them float32."""
    results = []
    for dtype in (th.float32, th.float64):
        model = masked(KLPenaltyPPO, env={"actions": "multi_binary"})
        model.policy.to(dtype)
        results.append(parameters_of(model.learn(64)))
        assert model.active_backend == "closed_form"
    assert results[1].dtype == np.float64
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


# ---- The argument ----


def test_a_maskable_policy_class_implies_it() -> None:
    assert ClipPPO(MaskableActorCriticPolicy, make_env(**MASKED)).use_masking
    assert not ClipPPO("MlpPolicy", make_env(**MASKED)).use_masking


@pytest.mark.parametrize(
    ("observations", "kind"), [("vector", MaskableRolloutBuffer), ("dict", MaskableDictRolloutBuffer)]
)
def test_the_buffer_follows_from_the_observations(observations: str, kind: type) -> None:
    policy = "MultiInputPolicy" if observations == "dict" else "MlpPolicy"
    assert type(masked(policy=policy, env={"observations": observations}).rollout_buffer) is kind


class Matrix(MaskedWalk):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.MultiBinary((2, 2))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a string": ({"use_masking": "yes"}, "use_masking='yes' is unknown: pass one of True, False"),
    "Box": ({"env": {"actions": "box", "allowed": None}}, r"with the action space Box\(.*: masks are for Discrete"),
    "a plain policy": (
        {"policy": ActorCriticPolicy},
        "needs a policy that takes masks, and ActorCriticPolicy does not",
    ),
    "a plain buffer": ({"rollout_buffer_class": RolloutBuffer}, r"a rollout buffer that keeps the masks, and Rollout"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    settings, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        masked(**settings)


def test_several_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="MultiBinary of one dimension"):
        ClipPPO("MlpPolicy", make_vec_env(Matrix), use_masking=True)


def test_policies_and_buffers_may_be_made_by_functions() -> None:
    """As with SB3's PPO."""

    def make_policy(*args: Any, **kwargs: Any) -> ActorCriticPolicy:
        return ActorCriticPolicy(*args, **kwargs)

    models = [algorithm(make_policy, make_env(), n_steps=64, seed=1) for algorithm in (PPO, ClipPPO)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(*map(parameters_of, models))

    def make_buffer(*args: Any, **kwargs: Any) -> MaskableRolloutBuffer:
        return MaskableRolloutBuffer(*args, **kwargs)

    masked(rollout_buffer_class=make_buffer).learn(32)


# ---- learn and predict ----


def test_learn_asks_for_masks_unless_told_not_to() -> None:
    model = masked()
    model.learn(32, use_masking=False)
    n_invalid = sum(model.get_env().get_attr("n_invalid"))
    assert n_invalid > 0
    assert model.rollout_buffer.action_masks.all()
    model.learn(32)
    assert sum(model.get_env().get_attr("n_invalid")) == n_invalid
    assert not model.rollout_buffer.action_masks.all()
    model.learn(32, use_masking=True)
    with pytest.raises(ValueError, match="use_masking='no' is unknown"):
        model.learn(32, use_masking="no")


def test_a_model_without_masks_takes_none() -> None:
    model = masked(use_masking=False).learn(32, use_masking=False)
    assert model.num_timesteps == 32
    with pytest.raises(ValueError, match=r"this model was made without masks; ClipPPO\(..., use_masking=True\)"):
        model.learn(32, use_masking=True)
    with pytest.raises(ValueError, match="this model was made without masks"):
        model.predict(model.env.reset(), action_masks=np.ones(3, bool))


def test_predict_takes_allowed_actions_only(algorithm: type) -> None:
    model = masked(algorithm, env={"n_envs": 4})
    observations = np.repeat(model.env.reset(), 50, 0)
    masks = np.repeat(get_action_masks(model.env), 50, 0)
    for deterministic in (True, False):
        for kind in (masks, masks.astype(int), masks.tolist()):
            actions, state = model.predict(observations, deterministic=deterministic, action_masks=kind)
            assert masks[np.arange(200), actions].all()
            assert state is None
    assert model.predict(observations[0], action_masks=masks[0])[0].shape == ()


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([True, False], r"has the shape \(2,\) \(in predict\): its action space needs \(3,\)"),
        ([], r"has the shape \(0,\)"),
        ([[True, False, False], [False, False, False]], r"environment 1 allows no action \(in predict\)"),
        ([0.2, 0.3, 0.5], "have to be booleans"),
        ([True, False, True], "one action mask per observation; got 1 for 2"),
        (np.ones((3, 3)), "one action mask per observation; got 3 for 2"),
    ],
)
def test_masks_that_predict_refuses(masks: Any, says: str) -> None:
    model = masked(env={"n_envs": 2})
    with pytest.raises(ValueError, match=says):
        model.predict(model.env.reset(), action_masks=masks)


class Parts(MaskedWalk):
    def __init__(self):
        super().__init__()
        parts = {"position": self.observation_space, "level": spaces.Discrete(4)}
        self.observation_space = spaces.Dict(parts)


def test_observations_that_sb3_takes_are_counted_as_it_counts_them() -> None:
    model = ClipPPO("MultiInputPolicy", Parts(), n_steps=32, batch_size=32, use_masking=True)
    mask = [True, False, False]
    for observation in (
        {"position": [0.0, 0.0, 0.0, 0.0], "level": 2},
        {"position": np.zeros(4, np.float32), "level": np.array([2])},
    ):
        assert model.predict(observation, action_masks=mask)[0].ravel().tolist() == [0]
    with pytest.raises(ValueError, match="passed a tuple to the predict"):
        masked().predict((np.zeros(4, np.float32), {}), action_masks=mask)


def test_predict_without_masks_warns_once(tmp_path) -> None:
    model = masked()
    observation = model.env.reset()
    with pytest.warns(UserWarning, match="predict\\(\\) without action_masks.*Said once") as caught:
        model.predict(observation)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(observation)
        masked().predict(observation, action_masks=[1, 1, 1])
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="predict\\(\\) without action_masks"):
        ClipPPO.load(tmp_path / "model").predict(observation)


def test_sb3s_evaluation_warns_and_sb3_contribs_does_not() -> None:
    model, env = masked(), MaskedWalk()
    evaluate_policy(model, env, n_eval_episodes=1, warn=False)
    with pytest.warns(UserWarning, match=r"use those of sb3_contrib\.common\.maskable"):
        evaluate_without_masks(model, env, n_eval_episodes=1, warn=False)
    # There sb3-contrib's evaluation would lose the states.
    recurrent = masked(policy="MlpLstmPolicy")
    with pytest.warns(UserWarning, match=r"use with_masks and EvaluatesWithMasks"):
        recurrent.predict(recurrent.env.reset())


# ---- Files and parameters ----


@pytest.mark.parametrize("saver", [ClipPPO, TRPO])
def test_every_class_loads_files_with_masks(algorithm: type, saver: type, tmp_path) -> None:
    saved = masked(saver, env={"actions": "multi_binary"}).learn(32)
    saved.save(tmp_path / "zip")
    saved.save_safe(tmp_path / "safe")
    for loaded in (
        algorithm.load(tmp_path / "zip", env=make_env(**MASKED | {"actions": "multi_binary"})),
        algorithm.load_safe(tmp_path / "safe", env=make_env(**MASKED | {"actions": "multi_binary"})),
    ):
        assert loaded.use_masking
        assert loaded.active_backend == "closed_form"
        np.testing.assert_array_equal(parameters_of(loaded), parameters_of(saved))
        loaded.learn(32)
        assert not any(loaded.get_env().get_attr("n_invalid"))


def test_whether_there_are_masks_is_in_the_file(tmp_path) -> None:
    with_masks, without = masked(), masked(use_masking=False)
    for name, model in (("with", with_masks), ("without", without)):
        model.save(tmp_path / f"{name}.zip")
        model.save_safe(tmp_path / name)
    with pytest.raises(ValueError, match=r"the file's policy takes masks\. learn\(use_masking=False\)"):
        ClipPPO.load(tmp_path / "with.zip", use_masking=False)
    with pytest.raises(ValueError, match="gives its weights to one with them by set_parameters"):
        ClipPPO.load(tmp_path / "without.zip", use_masking=True)
    assert ClipPPO.load(tmp_path / "with.zip", use_masking=True).use_masking
    # The safe format names the policy, and only this class decides what it is.
    for name, model in (("with", with_masks), ("without", without)):
        for use_masking in (True, False):
            loaded = ClipPPO.load_safe(tmp_path / name, make_env(**MASKED), use_masking=use_masking)
            assert loaded.use_masking == use_masking
            np.testing.assert_array_equal(parameters_of(loaded), parameters_of(model))
            loaded.learn(32)


def test_use_masking_may_be_left_out_of_a_safe_file(tmp_path) -> None:
    model = masked()
    model.save_safe(tmp_path / "model", exclude=["use_masking"])
    with pytest.raises(ValueError, match="use_masking was left out of the file"):
        ClipPPO.load_safe(tmp_path / "model")
    assert ClipPPO.load_safe(tmp_path / "model", use_masking=True).use_masking


def test_a_model_without_masks_gives_its_weights_to_one_with_them() -> None:
    without, with_masks = masked(use_masking=False).learn(32), masked()
    with_masks.set_parameters(without.get_parameters())
    kept = copy.deepcopy(without.get_parameters())
    with_masks.learn(32)
    assert_same_tensors(without.get_parameters(), kept, "untouched")


# ---- Numbers that are not finite ----


class WithNaN(MaskedWalk):
    """Observes NaN at one step of its training."""

    total_steps = 0

    def step(self, action: Any) -> Any:
        self.total_steps += 1
        observation, *others = super().step(action)
        # (Step 40 ends an episode.)
        return (observation * (np.nan if self.total_steps == 41 else 1), *others)


@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_a_nan_is_named(update_backend: str) -> None:
    env = make_vec_env(WithNaN, n_envs=1)
    model = ClipPPO("MlpPolicy", env, use_masking=True, update_backend=update_backend, n_steps=32, batch_size=32)
    with pytest.raises(ValueError, match=r"The observation of environment 0 is not finite: nan .*num_timesteps=41"):
        model.learn(96)


@pytest.mark.parametrize("update_backend", ["closed_form", "autograd"])
def test_a_skipped_update(update_backend: str) -> None:
    class BadReward(MaskedWalk):
        def step(self, action: Any) -> Any:
            observation, reward, *others = super().step(action)
            return (observation, reward * np.nan, *others)

    env = make_vec_env(BadReward, n_envs=1)
    settings = {"n_steps": 32, "batch_size": 32, "nonfinite_update": "skip", "update_backend": update_backend}
    model = ClipPPO("MlpPolicy", env, use_masking=True, seed=0, **settings)
    before = parameters_of(model)
    model.learn(64)
    np.testing.assert_array_equal(parameters_of(model), before)
    assert model.logger.name_to_value["train/nonfinite_updates"] == 2


@pytest.mark.cuda
def test_cuda(algorithm: type) -> None:
    model = masked(algorithm, device="cuda", env={"actions": "multi_binary"}, measure_kl=True).learn(64)
    assert all(parameter.is_cuda for parameter in model.policy.parameters())
