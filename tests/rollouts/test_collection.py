"""What callbacks see of the collection loop and can do to it. (That it collects what SB3 collects: parity/.)"""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_ppo_variants import ClipPPO
from tests.environments import RandomWalk

N_STEPS, N_ENVS = 40, 2
NAMES = {"self", "obs_tensor", "actions", "values", "log_probs", "clipped_actions", "new_obs", "rewards", "dones"}
NAMES |= {"infos", "n_steps", "n_rollout_steps", "rollout_buffer", "env", "callback"}


def make(algorithm: type = ClipPPO, observations: str = "vector", actions: str = "box", **settings: Any) -> Any:
    env = make_vec_env(lambda: RandomWalk(observations, actions), n_envs=N_ENVS)
    policy = "MultiInputPolicy" if observations == "dict" else "MlpPolicy"
    settings = {"n_steps": N_STEPS, "batch_size": 40, "n_epochs": 1, "seed": 1, **settings}
    return algorithm(policy, env, **settings)


class Watch(BaseCallback):
    """Copies what it is shown at each step, and the buffer's rewards before they are flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []
        self.events: list[str] = []
        self.at_end: dict[str, Any] = {}
        self.stored = np.zeros(0)

    def _on_rollout_start(self) -> None:
        self.events.append("start")

    def _on_step(self) -> bool:
        self.events.append("step")
        keep = {name: self.locals[name] for name in NAMES if name in self.locals}
        self.steps.append(keep | {"rewards": keep["rewards"].copy(), "counted": self.num_timesteps})
        return True

    def _on_rollout_end(self) -> None:
        self.events.append("end")
        self.at_end = dict(self.locals)
        self.stored = self.locals["rollout_buffer"].rewards.copy()


# The closed form computes the same numbers in another order; the policy's own forward pass is SB3's, bit for bit.
ROUNDING = {"autograd": 0.0, "closed_form": 1e-5}
every_backend = pytest.mark.parametrize("backend", ROUNDING)


@pytest.mark.parametrize(
    ("observations", "actions", "backend"),
    [
        ("vector", "box", "autograd"),
        ("vector", "box", "closed_form"),
        ("discrete", "multi_binary", "autograd"),
        ("discrete", "multi_binary", "closed_form"),
        ("vector", "multi_discrete", "closed_form"),
        ("vector", "discrete", "closed_form"),
        ("dict", "discrete", "autograd"),
    ],
)
def test_callbacks_see_sb3s_names_with_sb3s_types(observations: str, actions: str, backend: str) -> None:
    watches = Watch(), Watch()
    make(ClipPPO, observations, actions, update_backend=backend).learn(N_STEPS * N_ENVS, callback=watches[0])
    make(PPO, observations, actions).learn(N_STEPS * N_ENVS, callback=watches[1])
    tolerance = {"rtol": ROUNDING[backend], "atol": ROUNDING[backend]}
    for ours, theirs in zip(watches[0].steps, watches[1].steps, strict=True):
        assert theirs.keys() >= NAMES
        assert ours.keys() == theirs.keys()
        for name in NAMES - {"self", "callback", "env", "rollout_buffer"}:
            assert type(ours[name]) is type(theirs[name]), name
            assert getattr(ours[name], "shape", None) == getattr(theirs[name], "shape", None), name
            assert getattr(ours[name], "dtype", None) == getattr(theirs[name], "dtype", None), name
        assert ours["n_steps"] == theirs["n_steps"]
        assert ours["counted"] == theirs["counted"]
        for name in ("rewards", "actions", "clipped_actions", "values", "log_probs", "dones"):
            np.testing.assert_allclose(ours[name], theirs[name], err_msg=name, **tolerance)
    assert watches[0].events == watches[1].events == ["start"] + ["step"] * N_STEPS + ["end"]
    assert watches[0].at_end.keys() >= NAMES
    for name in ("n_steps", "values", "actions", "rewards", "dones", "log_probs"):
        ours, theirs = watches[0].at_end[name], watches[1].at_end[name]
        assert type(ours) is type(theirs), name
        np.testing.assert_allclose(ours, theirs, err_msg=name, **tolerance)


@every_backend
def test_the_objects_are_the_ones_at_work(backend: str) -> None:
    watch = Watch()
    model = make(update_backend=backend)
    model.learn(N_STEPS * N_ENVS, callback=watch)
    for i, step in enumerate(watch.steps):
        assert step["self"] is model
        assert step["env"] is model.env
        assert step["rollout_buffer"] is model.rollout_buffer
        assert step["callback"] is not None
        assert step["n_steps"] == i
        assert step["n_rollout_steps"] == N_STEPS
        assert step["counted"] == (i + 1) * N_ENVS
        assert isinstance(step["values"], th.Tensor)
        assert not step["values"].requires_grad
        assert np.all(np.abs(step["clipped_actions"]) <= 1)
        np.testing.assert_array_equal(step["clipped_actions"], np.clip(step["actions"], -1, 1))
    # Each step acts on what the one before has brought.
    for before, after in zip(watch.steps, watch.steps[1:], strict=False):
        np.testing.assert_array_equal(before["new_obs"], after["obs_tensor"].numpy())


class AddToRewards(BaseCallback):
    """A reward-shaping callback: edits the array in place."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.shaped: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self.locals["rewards"] += self.amount
        self.shaped.append(self.locals["rewards"].copy())
        return True

    def _on_rollout_end(self) -> None:
        self.stored = self.locals["rollout_buffer"].rewards.copy()


@every_backend
def test_rewards_edited_in_place_reach_the_buffer(backend: str) -> None:
    callback = AddToRewards(100.0)
    make(bootstrap_truncated=False, update_backend=backend).learn(N_STEPS * N_ENVS, callback=callback)
    np.testing.assert_array_equal(callback.stored, np.stack(callback.shaped))
    assert callback.stored.min() > 90


def test_time_limits_bootstrap_on_top_of_edited_rewards() -> None:
    callback = AddToRewards(100.0)
    make().learn(N_STEPS * N_ENVS, callback=callback)
    bootstrapped = callback.stored - np.stack(callback.shaped)
    assert np.count_nonzero(bootstrapped) > 0
    assert np.abs(bootstrapped).max() < 50


class StopAt(Watch):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def _on_step(self) -> bool:
        super()._on_step()
        return len(self.steps) < self.step


@every_backend
def test_a_callback_can_stop(backend: str) -> None:
    watch, model = StopAt(7), make(update_backend=backend)
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    model.learn(10 * N_STEPS * N_ENVS, callback=watch)
    assert watch.events == ["start"] + ["step"] * 7
    assert model.num_timesteps == 7 * N_ENVS
    # As in SB3, the step at which it said so is not in the buffer, and there is no update.
    assert model.rollout_buffer.pos == 6
    assert not model.rollout_buffer.full
    assert all(th.equal(tensor, before[name]) for name, tensor in model.policy.state_dict().items())


def is_truncated(step: dict[str, Any]) -> np.ndarray:
    return np.array([info.get("TimeLimit.truncated", False) for info in step["infos"]])


@every_backend
def test_without_bootstrapping_a_time_limit_leaves_the_rewards_alone(backend: str) -> None:
    watch = Watch()
    make(bootstrap_truncated=False, update_backend=backend).learn(N_STEPS * N_ENVS, callback=watch)
    assert any(is_truncated(step).any() for step in watch.steps)
    np.testing.assert_array_equal(watch.stored, np.stack([step["rewards"] for step in watch.steps]))


class ValuesAtLimits(Watch):
    """γ·V(terminal observation) of each episode that was cut off, with the policy that collects."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[np.ndarray] = []

    def _on_step(self) -> bool:
        super()._on_step()
        rewards = self.locals["rewards"].copy()
        for i, info in enumerate(self.locals["infos"]):
            if info.get("TimeLimit.truncated", False):
                observation, _ = self.model.policy.obs_to_tensor(info["terminal_observation"])
                with th.no_grad():
                    rewards[i] += 0.9 * self.model.policy.predict_values(observation).item()
        self.expected.append(rewards)
        return True


@pytest.mark.parametrize(
    ("observations", "backend"), [("vector", "autograd"), ("vector", "closed_form"), ("dict", "autograd")]
)
def test_with_bootstrapping_exactly_the_cut_off_episodes_gain_the_value_of_what_follows(
    observations: str, backend: str
) -> None:
    watch = ValuesAtLimits()
    make(observations=observations, gamma=0.9, update_backend=backend).learn(N_STEPS * N_ENVS, callback=watch)
    np.testing.assert_allclose(watch.stored, np.stack(watch.expected), rtol=1e-5, atol=1e-6)
    raw = np.stack([step["rewards"] for step in watch.steps])
    truncated = np.stack([is_truncated(step) for step in watch.steps])
    ended = np.stack([step["dones"] for step in watch.steps])
    # Both endings occur, or the test would say nothing about the other one.
    assert truncated.any()
    assert (ended & ~truncated).any()
    np.testing.assert_array_equal(watch.stored[~truncated], raw[~truncated])
    assert np.all(watch.stored[truncated] != raw[truncated])


def test_before_learn_there_is_nothing_to_start_from() -> None:
    model = make()
    with pytest.raises(ValueError, match=r"learn\(\)"):
        model.collect_rollouts(model.env, Watch(), model.rollout_buffer, N_STEPS)


@pytest.mark.parametrize("squash", [False, True])
def test_actions_fit_the_environments_bounds(squash: bool) -> None:
    watch = Watch()
    settings = {"use_sde": True, "policy_kwargs": {"squash_output": True}} if squash else {}
    make(**settings).learn(N_STEPS * N_ENVS, callback=watch)
    low, high = -1.0, 1.0
    raw = np.stack([step["actions"] for step in watch.steps])
    given_out = np.stack([step["clipped_actions"] for step in watch.steps])
    assert given_out.min() >= low
    assert given_out.max() <= high
    # An unbounded Gaussian goes beyond and is stored as it was drawn.
    assert (np.abs(raw) > 1).any() == (not squash)


@pytest.mark.parametrize("backend", ["autograd", "closed_form"])
def test_a_callback_that_puts_another_last_observation(backend: str) -> None:
    class Puts(BaseCallback):
        def _on_step(self) -> bool:
            self.model._last_obs = self.model._last_obs + 1.0  # type: ignore[attr-defined]
            return True

    def stored(cls: Any, **kwargs: Any) -> np.ndarray:
        model = cls("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, n_epochs=1, seed=1, device="cpu", **kwargs)
        model.learn(16, callback=Puts())
        return np.asarray(model.rollout_buffer.observations).reshape(16, 4)

    np.testing.assert_array_equal(stored(ClipPPO, ent_coef=0.0, update_backend=backend), stored(PPO))
