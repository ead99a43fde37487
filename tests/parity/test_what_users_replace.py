"""What a user's script does to SB3's objects has the effect that it has in SB3's PPO, in closed form too."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from sb3_contrib.common.maskable.distributions import MaskableCategorical, MaskableCategoricalDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common import distributions, on_policy_algorithm, policies
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize

from sb3_ppo_variants import ClipPPO
from tests.algorithms.models import parameters_of
from tests.environments import RandomWalk
from tests.parity.comparing import make_env

SETTINGS: dict[str, Any] = {
    "n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 5, "ent_coef": 0.0, "device": "cpu",
    "policy_kwargs": {"net_arch": [8]},
}  # fmt: skip
#: How far rounding takes the closed form from torch in such a short training; autograd equals SB3 to the bit.
TOLERANCE = {"auto": 2e-5, "autograd": 0.0}

Patch = pytest.MonkeyPatch
#: What is done to a model before it learns; it may note what it sees, and return a callback.
Deed = Callable[[Any, list[Any], Patch], Any]


def outcome(algorithm: type, env: Any, deed: Deed, settings: dict[str, Any]) -> tuple[np.ndarray, list[Any], Any]:
    """The parameters after a short training, what was noted, and the state of the random numbers."""
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        model = algorithm("MlpPolicy", env, **SETTINGS | settings)
        callback = deed(model, seen, patch)
        model.learn(32 * model.n_envs, callback if isinstance(callback, BaseCallback) else None)
    return parameters_of(model), seen, (np.random.rand(), th.rand(1).item())


def assert_same_as_sb3(env: Callable[[], Any], deed: Deed, **settings: Any) -> list[Any]:
    theirs, seen, random = outcome(PPO, env(), deed, settings)
    for backend, tolerance in TOLERANCE.items():
        ours, seen_here, random_here = outcome(ClipPPO, env(), deed, settings | {"update_backend": backend})
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(np.hstack([*seen_here, 0]), np.hstack([*seen, 0]), rtol=0, atol=tolerance)
        assert random_here == random
    return seen


class At(BaseCallback):
    """
    Calls a function with the model at one step.

    :param step: Steps so far
    :param function: The function
    """

    def __init__(self, step: int, function: Callable[[Any], Any]):
        super().__init__()
        self.step, self.function = step, function

    def _on_step(self) -> bool:
        if self.num_timesteps == self.step:
            self.function(self.model)
        return True


# ---- Functions and methods: a wrapper that changes nothing is called all the same ----

REPLACED = [
    (ActorCriticPolicy, "obs_to_tensor"),
    (RolloutBuffer, "to_torch"),
    (BaseBuffer, "to_torch"),
    (th.distributions.Normal, "log_prob"),
    (th.optim.Optimizer, "zero_grad"),
    (th.nn.Module, "__call__"),
    (th.nn.Module, "_call_impl"),
    (th.nn.Flatten, "forward"),
    (th.Tensor, "backward"),
    (OnPolicyAlgorithm, "collect_rollouts"),
    (BaseAlgorithm, "_update_learning_rate"),
    (policies, "preprocess_obs"),
    (on_policy_algorithm, "obs_as_tensor"),
    (distributions, "sum_independent_dims"),
    (th.nn.functional, "mse_loss"),
    (th.nn.utils, "clip_grad_norm_"),
]
ON_OBJECTS: dict[str, Callable[[Any], Any]] = {
    "obs_to_tensor": lambda model: model.policy,
    "_call_impl": lambda model: model.policy,
    "to_torch": lambda model: model.rollout_buffer,
    "zero_grad": lambda model: model.policy.optimizer,
}


def short_episodes() -> VecEnv:
    """Cut off by a time limit, so that terminal observations are valued."""
    return make_vec_env(lambda: RandomWalk(time_limit=5))


def note_calls(owner: Any, name: str, calls: list[Any], patch: Patch) -> None:
    original = getattr(owner, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        if not calls:
            calls.append(1)
        return original(*args, **kwargs)

    patch.setattr(owner, name, noting)


@pytest.mark.parametrize(("owner", "name"), REPLACED, ids=[f"{o.__name__}.{name}" for o, name in REPLACED])
def test_a_function_replaced_on_its_class_or_module_is_called(owner: Any, name: str) -> None:
    assert assert_same_as_sb3(short_episodes, lambda model, calls, patch: note_calls(owner, name, calls, patch)) == [1]


@pytest.mark.parametrize("name", ON_OBJECTS)
def test_a_method_set_on_an_object_is_called(name: str) -> None:
    owner = ON_OBJECTS[name]
    assert assert_same_as_sb3(
        short_episodes, lambda model, calls, patch: note_calls(owner(model), name, calls, patch)
    ) == [1]


# ---- The same with masks, against MaskablePPO ----

MASKABLE = [
    (MaskableActorCriticPolicy, "forward"),
    (MaskableActorCriticPolicy, "evaluate_actions"),
    (MaskableRolloutBuffer, "add"),
    (MaskableRolloutBuffer, "_get_samples"),
    (MaskableCategoricalDistribution, "apply_masking"),
    (MaskableCategorical, "apply_masking"),
    (MaskableCategorical, "log_prob"),
]


def masked_env() -> VecEnv:
    return make_env(actions="discrete", allowed=0.5)


def assert_same_as_maskable_ppo(deed: Deed) -> list[Any]:
    theirs, seen, random = outcome(MaskablePPO, masked_env(), deed, {})
    for backend, tolerance in TOLERANCE.items():
        settings = {"update_backend": backend, "use_masking": True}
        ours, seen_here, random_here = outcome(ClipPPO, masked_env(), deed, settings)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(np.hstack([*seen_here, 0]), np.hstack([*seen, 0]), rtol=0, atol=tolerance)
        assert random_here == random
    return seen


@pytest.mark.parametrize(("owner", "name"), MASKABLE, ids=[f"{o.__name__}.{name}" for o, name in MASKABLE])
def test_a_function_of_sb3_contribs_that_is_replaced_is_called(owner: Any, name: str) -> None:
    assert assert_same_as_maskable_ppo(lambda model, calls, patch: note_calls(owner, name, calls, patch)) == [1]


def allow_everything(model: Any, seen: list[Any], patch: Patch) -> None:
    patch.setattr(MaskableCategorical, "apply_masking", lambda self, masks: None)


class AllowAllAt20(BaseCallback):
    """Edits the masks of one step, which are then stored so."""

    def _on_step(self) -> bool:
        if self.num_timesteps == 20:
            self.locals["action_masks"][:] = True
        return True


def edited_masks(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    return AllowAllAt20()


@pytest.mark.parametrize("deed", [allow_everything, edited_masks], ids=lambda deed: deed.__name__)
def test_what_is_done_to_a_model_with_masks_has_maskable_ppos_effect(deed: Deed) -> None:
    assert_same_as_maskable_ppo(deed)


# ---- What changes the numbers ----


class Halving(th.nn.Module):
    def forward(self, x: th.Tensor) -> th.Tensor:
        return x.flatten(1) * 0.5


class SlottedOptimizer:
    """An optimiser without a dictionary of attributes, and no more than SB3 asks of one."""

    __slots__ = ("inner",)

    def __init__(self, inner: th.optim.Optimizer):
        self.inner = inner

    param_groups = property(lambda self: self.inner.param_groups)

    def step(self) -> None:
        self.inner.step()

    def zero_grad(self) -> None:
        self.inner.zero_grad()


class RecordAndDump:
    """A logger with no more than SB3 asks of one."""

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        pass

    def dump(self, step: int = 0) -> None:
        pass


def sample_the_mode(model: Any, seen: list[Any], patch: Patch) -> None:
    patch.setattr(DiagGaussianDistribution, "sample", DiagGaussianDistribution.mode)


def own_learning_rate(model: Any, seen: list[Any], patch: Patch) -> None:
    patch.setattr(BaseAlgorithm, "_update_learning_rate", lambda self, optimizers: None)
    model.policy.optimizer.param_groups[0]["lr"] = 1e-2


def no_clipping(model: Any, seen: list[Any], patch: Patch) -> None:
    patch.setattr(th.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: th.tensor(0.0))


def half_the_rollout(model: Any, seen: list[Any], patch: Patch) -> None:
    original = OnPolicyAlgorithm.collect_rollouts

    def mine(self: Any, env: Any, callback: Any, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        goes_on = original(self, env, callback, rollout_buffer, n_rollout_steps)
        rollout_buffer.advantages *= 0.5
        return goes_on

    patch.setattr(OnPolicyAlgorithm, "collect_rollouts", mine)


def own_flatten(model: Any, seen: list[Any], patch: Patch) -> None:
    model.policy.features_extractor.flatten = Halving()


def slotted_optimizer(model: Any, seen: list[Any], patch: Patch) -> None:
    model.policy.optimizer = SlottedOptimizer(model.policy.optimizer)


def slim_logger(model: Any, seen: list[Any], patch: Patch) -> None:
    model.policy.optimizer = th.optim.SGD(model.policy.parameters(), lr=1e-2)  # not in closed form, which is said
    model.set_logger(RecordAndDump())


def hook_within_a_rollout(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    return At(20, lambda model: model.policy.action_net.register_forward_hook(lambda module, given, out: out + 0.3))


def forward_within_a_rollout(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    def be_deterministic(model: Any) -> None:
        forward = model.policy.forward
        model.policy.forward = lambda obs: forward(obs, deterministic=True)

    return At(20, be_deterministic)


def policy_within_a_rollout(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    other = PPO("MlpPolicy", make_env(), **SETTINGS | {"seed": 8}).policy
    th.manual_seed(1)
    np.random.seed(1)
    return At(20, lambda model: setattr(model, "policy", other))


@pytest.mark.parametrize(
    "deed",
    [
        sample_the_mode,
        own_learning_rate,
        no_clipping,
        half_the_rollout,
        own_flatten,
        slotted_optimizer,
        slim_logger,
        hook_within_a_rollout,
        forward_within_a_rollout,
        policy_within_a_rollout,
    ],
    ids=lambda deed: deed.__name__,
)
def test_what_is_done_to_a_model_has_sb3s_effect(deed: Deed) -> None:
    assert_same_as_sb3(make_env, deed)


# ---- Callbacks of SB3's own classes that a user has changed ----


def patched_checkpoint(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    def step(self: Any) -> bool:
        seen.append(self.locals["values"].sum().item())
        return True

    patch.setattr(CheckpointCallback, "_on_step", step)
    return CheckpointCallback(1000, "checkpoints")


def patched_base(model: Any, seen: list[Any], patch: Patch) -> None:
    original = BaseCallback.update_locals

    def update(self: Any, found: dict[str, Any]) -> None:
        seen.append(found["log_probs"].sum().item())
        original(self, found)

    patch.setattr(BaseCallback, "update_locals", update)


def end_of_rollout(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    callback = CallbackList([])
    callback._on_rollout_end = lambda: seen.append(callback.locals["obs_tensor"].numpy().ravel())  # type: ignore[method-assign]
    return callback


@pytest.mark.parametrize("deed", [patched_checkpoint, patched_base, end_of_rollout], ids=lambda deed: deed.__name__)
def test_changed_callbacks_of_sb3_are_given_values(deed: Deed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # SB3's callback makes its folder
    assert len(assert_same_as_sb3(make_env, deed)) >= 2


# ---- Buffers ----


class WithoutOldValues(RolloutBuffer):
    """Yields what SB3's PPO reads without value clipping."""

    def get(self, batch_size: int | None = None) -> Any:
        for samples in super().get(batch_size):
            read = samples._asdict()
            del read["old_values"]
            yield types.SimpleNamespace(**read)


class Delegating:
    """No RolloutBuffer, but with all that SB3's PPO reads of one."""

    def __init__(self, *args: Any, **kwargs: Any):
        inner = RolloutBuffer(*args, **kwargs)
        self.reset, self.add, self.get = inner.reset, inner.add, inner.get
        self.compute_returns_and_advantage = inner.compute_returns_and_advantage
        self.inner = inner

    values = property(lambda self: self.inner.values)
    returns = property(lambda self: self.inner.returns)


@pytest.mark.parametrize("kind", [WithoutOldValues, Delegating])
def test_a_buffer_needs_no_more_than_in_sb3(kind: type) -> None:
    assert_same_as_sb3(make_env, lambda *_: None, rollout_buffer_class=kind)


# ---- Environments ----


class Wrapped(VecEnvWrapper):
    """
    Returns something else for what a step returned.

    :param function: From a step's result to another
    """

    def __init__(self, venv: Any, function: Callable[..., Any]):
        super().__init__(venv)
        self.function = function

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.function(*self.venv.step_wait())


STEPS: dict[str, Callable[..., Any]] = {
    "infos in a tuple": lambda obs, rewards, dones, infos: (obs, rewards, dones, tuple(infos)),
    "infos in an array": lambda obs, rewards, dones, infos: (obs, rewards, dones, np.array(infos, dtype=object)),
    "whole numbers for dones": lambda obs, rewards, dones, infos: (obs, rewards, dones.astype(int), infos),
    "rewards in a list": lambda obs, rewards, dones, infos: (obs, rewards.tolist(), dones, [{} for _ in infos]),
    "rewards in float64": lambda obs, rewards, dones, infos: (obs, rewards.astype(np.float64), dones, infos),
    "observations in float64": lambda obs, rewards, dones, infos: (obs.astype(np.float64), rewards, dones, infos),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_step_may_return(name: str) -> None:
    assert_same_as_sb3(lambda: Wrapped(VecNormalize(make_env(n_envs=2)), STEPS[name]), lambda *_: None)


def test_observations_of_another_shape_are_refused_as_in_sb3() -> None:
    for algorithm in (PPO, ClipPPO):
        env = Wrapped(make_env(n_envs=2), lambda obs, *others: (obs.reshape(2, 2, 2), *others))
        with pytest.raises(ValueError, match="could not broadcast"):
            algorithm("MlpPolicy", env, **SETTINGS).learn(64)


def reuse_observations(model: Any, seen: list[Any], patch: Patch) -> None:
    """``step_wait`` returns one and the same array again and again."""
    env, kept = model.env, []
    original = env.step_wait

    def step_wait() -> Any:
        observations, *others = original()
        kept.append(observations)
        kept[0][:] = observations
        return (kept[0], *others)

    env.step_wait = step_wait


def test_a_replaced_step_wait_that_reuses_its_array() -> None:
    assert_same_as_sb3(lambda: make_env(n_envs=2), reuse_observations)


def replaced_statistics(model: Any, seen: list[Any], patch: Patch) -> None:
    statistics = model.get_vec_normalize_env().obs_rms
    statistics.update_from_moments = lambda *moments: seen.append(1)


def replaced_statistics_within_a_rollout(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    return At(20, lambda model: replaced_statistics(model, seen, patch))


def replaced_class_of_statistics(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
    return At(20, lambda model: patch.setattr(RunningMeanStd, "update", lambda self, batch: seen.append(1)))


@pytest.mark.parametrize(
    "deed", [replaced_statistics, replaced_statistics_within_a_rollout, replaced_class_of_statistics]
)
def test_replaced_methods_of_running_statistics_are_called_at_once(deed: Deed) -> None:
    assert len(assert_same_as_sb3(lambda: make_env(normalize=True), deed)) > 5


# ---- Objects stay the ones that a user holds ----


def test_memory_taken_from_a_model_follows_its_training() -> None:
    model = ClipPPO("MlpPolicy", make_env(), **SETTINGS)
    taken = model.policy.state_dict()
    as_array = model.policy.value_net.weight.detach().numpy()
    other = ClipPPO("MlpPolicy", make_env(), **SETTINGS | {"seed": 9})
    for one, theirs in zip(other.policy.parameters(), model.policy.parameters(), strict=True):
        one.data = theirs.data
    model.learn(32)
    assert model.active_backend == "closed_form"
    moment = model.policy.optimizer.state[model.policy.log_std]["exp_avg"]
    model.learn(32)
    assert moment is model.policy.optimizer.state[model.policy.log_std]["exp_avg"]
    assert all(bool((taken[name] == value).all()) for name, value in model.policy.state_dict().items())
    np.testing.assert_array_equal(as_array, model.policy.value_net.weight.detach().numpy())
    np.testing.assert_array_equal(parameters_of(other), parameters_of(model))


@pytest.mark.parametrize("observations", ["vector", "dict"])
def test_the_buffers_of_an_environment_that_a_user_holds_stay_its_buffers(observations: str) -> None:
    env = make_env(observations, n_envs=2)
    infos, arrays = env.buf_infos, env.buf_obs  # type: ignore[attr-defined]
    policy = "MlpPolicy" if observations == "vector" else "MultiInputPolicy"
    ClipPPO(policy, env, **SETTINGS).learn(64)
    assert env.buf_infos is infos  # type: ignore[attr-defined]
    assert env.buf_obs is arrays  # type: ignore[attr-defined]


def test_an_info_that_two_environments_share_stays_shared() -> None:
    info: dict[str, Any] = {}

    class Sharing(RandomWalk):
        def step(self, action: Any) -> Any:
            return (*super().step(action)[:4], info)

    def note(model: Any, seen: list[Any], patch: Patch) -> BaseCallback:
        class Note(BaseCallback):
            def _on_step(self) -> bool:
                seen.append(self.locals["infos"][0] is self.locals["infos"][1])
                return True

        return Note()

    assert all(assert_same_as_sb3(lambda: DummyVecEnv([Sharing, Sharing]), note))
