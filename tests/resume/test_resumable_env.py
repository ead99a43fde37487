"""How one environment's state is kept; the oracle is the environment itself, going on."""

import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants.resume.environments import make_resumable
from sb3_ppo_variants.resume.resumable_env import STEPS_BEFORE_CHECK, STEPS_OF_CHECK, EnvState, ResumableEnv
from tests.resume.environments import (
    BegunByReset,
    BegunWithAHandle,
    Counter,
    Dice,
    Handle,
    Noisy,
    OwnProtocol,
    Simulator,
)


def stepped(env: ResumableEnv, n_steps: int) -> None:
    for i in range(n_steps):
        if env.step(i % 2)[2]:
            env.reset()


def checked(make: Any) -> ResumableEnv:
    env = ResumableEnv(Monitor(make()), make=lambda: Monitor(make()))
    env.reset(seed=4)
    env.begin_checkpoint_check()
    stepped(env, STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 4)
    return env


def assert_goes_on_alike(env: ResumableEnv, other: ResumableEnv) -> None:
    for i in range(40):
        one, two = env.step(i % 2), other.step(i % 2)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
        if one[2]:
            np.testing.assert_array_equal(env.reset()[0], other.reset()[0])
            assert one[4]["episode"]["r"] == two[4]["episode"]["r"]


@pytest.mark.parametrize(
    ("make", "replayed"), [(Counter, False), (Simulator, True), (OwnProtocol, False), (BegunByReset, False)]
)
def test_kept(make: Any, replayed: bool) -> None:
    env = checked(make)
    state = env.capture_checkpoint()
    assert state is not None
    assert state.kept
    assert (state.reset is not None) == replayed
    other = ResumableEnv(Monitor(make()))
    other.reset(seed=99)
    assert other.restore_checkpoint(state) == ""
    assert_goes_on_alike(env, other)


def test_a_state_that_cannot_be_pickled_is_named() -> None:
    state = checked(BegunWithAHandle).capture_checkpoint()
    assert state is not None
    assert not state.kept
    assert "cannot be captured (TypeError: cannot pickle a handle)" in state.why_not


def test_actions_are_not_kept_once_a_copy_will_do() -> None:
    env = ResumableEnv(Counter())
    env.reset(seed=4)
    env.begin_checkpoint_check()
    for _ in range(STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 100):
        env.step(0)
    assert env._beginning is None


def test_what_cannot_be_captured_before_its_first_reset_can_be_afterwards() -> None:
    env = ResumableEnv(BegunByReset())
    state = env.capture_checkpoint(unchecked=True)
    assert state is not None
    assert not state.kept
    env.reset(seed=4)
    state = env.capture_checkpoint(unchecked=True)
    assert state is not None
    assert state.kept


class LateHandle(Counter):
    """In its first episode its state moves to where it cannot be copied, at step 40."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 40:
            value = self.hidden[0]
            self.hidden = Handle()
            self.hidden[0] = value
        if isinstance(self.hidden, list):
            return super().step(action)
        self.hidden.value += float(action)
        return np.array([self.hidden.value]), self.hidden.value, self.steps % 60 == 0, False, {}

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.hidden[0] = 0.0
        return np.array([0.0]), {}


def test_a_copy_that_no_longer_does_is_followed_by_a_replay_of_the_next_episode() -> None:
    env = ResumableEnv(LateHandle(), make=LateHandle)
    env.reset(seed=4)
    for _ in range(3):
        env.begin_checkpoint_check()
        for _ in range(STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 5):
            env.step(1)
    state = env.capture_checkpoint()
    assert state is not None
    assert state.later
    env.reset()
    env.begin_checkpoint_check()
    for _ in range(STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 5):
        env.step(1)
    state = env.capture_checkpoint()
    assert state is not None
    assert (state.kept, state.reset is not None) == (True, True)


class Counting(ResumableEnv):
    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.counter = 0


def test_a_subclass_keeps_its_own_attributes() -> None:
    assert Counting(Counter()).counter == 0


class Curriculum(gym.Wrapper):
    level = 1

    def describe(self) -> str:
        return f"level {self.level}"


def test_set_attr_reaches_the_environment_inside() -> None:
    plain, resumable = (DummyVecEnv([lambda: Curriculum(Counter())]) for _ in range(2))
    make_resumable(resumable)
    assert resumable.env_is_wrapped(ResumableEnv) == [True]
    for env in (plain, resumable):
        env.set_attr("level", 3)
        env.set_attr("action_space", spaces.Discrete(7))
        curriculum = env.envs[0].env if isinstance(env.envs[0], ResumableEnv) else env.envs[0]
        assert curriculum.action_space == spaces.Discrete(7)
        assert env.env_method("describe") == ["level 3"]
        assert env.get_attr("level") == [3]


def test_draws_from_the_process_between_those_of_others() -> None:
    envs = [ResumableEnv(Dice()) for _ in range(2)]
    for number, env in enumerate(envs):
        env.reset(seed=number)
        env.begin_checkpoint_check()
    for i in range(STEPS_BEFORE_CHECK + 8):
        for env in envs:
            np.random.random()  # a policy's
            if env.step(i % 2)[2]:
                env.reset()
    for env in envs:
        state = env.capture_checkpoint()
        assert state is not None
        assert state.kept
        expected = [env.step(1)[0] for _ in range(5)]
        other = ResumableEnv(Dice())
        other.reset(seed=99)
        assert other.restore_checkpoint(state) == ""
        np.testing.assert_array_equal([other.step(1)[0] for _ in range(5)], expected)


def test_the_random_state_of_the_process_is_left_alone() -> None:
    env, plain = ResumableEnv(Dice()), Dice()
    for one in (env, plain):
        random.seed(3)
        np.random.seed(3)
        one.reset(seed=4)
        if one is env:
            env.begin_checkpoint_check()
        seen = [one.step(0)[0][0] for _ in range(STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 4)]
        if one is env:
            expected = seen
    assert seen == expected


def test_an_episode_whose_beginning_was_not_seen() -> None:
    inner = Simulator()
    inner.reset(seed=4)
    env = ResumableEnv(inner, make=Simulator)
    env.begin_checkpoint_check()
    for _ in range(STEPS_BEFORE_CHECK + 2):
        env.step(0)
    state = env.capture_checkpoint()
    assert state is not None
    assert (state.kept, state.later) == (False, True)
    assert "Simulator.hidden cannot be copied" in state.why_not or "a copy of its attributes" in state.why_not
    assert "wrapper_class=ResumableEnv" in state.why_not
    env.reset()
    env.begin_checkpoint_check()
    stepped(env, STEPS_BEFORE_CHECK + 2)
    state = env.capture_checkpoint()
    assert state is not None
    assert (state.kept, state.later) == (True, False)


@pytest.mark.parametrize(("make", "kept"), [(Counter, True), (OwnProtocol, True), (Simulator, False)])
def test_where_a_second_one_cannot_be_made(make: Any, kept: bool) -> None:
    """A copy of the attributes is checked by itself, and a protocol is trusted."""

    def refuse() -> Any:
        raise OSError("the port is in use")

    env = ResumableEnv(make(), make=refuse)
    env.reset(seed=4)
    env.begin_checkpoint_check()
    stepped(env, STEPS_BEFORE_CHECK + 4)
    state = env.capture_checkpoint()
    assert state is not None
    assert state.kept == kept
    assert kept or "the port is in use" in state.why_not


def test_neither_copied_nor_replayed() -> None:
    state = checked(Noisy).capture_checkpoint()
    assert state == EnvState(
        False,
        "a copy of its attributes goes another way; a replay of its actions goes another way",
    )


def test_without_a_way_to_make_another() -> None:
    env = ResumableEnv(Simulator())
    env.reset(seed=4)
    env.begin_checkpoint_check()
    stepped(env, STEPS_BEFORE_CHECK + 4)
    state = env.capture_checkpoint()
    assert state is not None
    assert not state.kept
    assert "Simulator.hidden cannot be copied, and no second Simulator could be made" in state.why_not


def test_too_early() -> None:
    env = ResumableEnv(Counter())
    env.reset(seed=4)
    assert env.capture_checkpoint() is None
    env.begin_checkpoint_check()
    stepped(env, STEPS_BEFORE_CHECK + 1)
    assert env.capture_checkpoint() is not None


def test_a_check_disturbs_nothing() -> None:
    env, plain = checked(Counter), Counter()
    plain.reset(seed=4)
    for i in range(STEPS_BEFORE_CHECK + STEPS_OF_CHECK + 4):
        if plain.step(i % 2)[2]:
            plain.reset()
    assert plain.hidden == env.unwrapped.hidden  # type: ignore[attr-defined]


def test_another_environment() -> None:
    state = checked(Counter).capture_checkpoint()
    assert state is not None
    other = ResumableEnv(Monitor(Simulator()))
    other.reset()
    assert "holds the state of" in other.restore_checkpoint(state)


def test_a_replay_that_ends_elsewhere_is_noticed() -> None:
    state = checked(Simulator).capture_checkpoint()
    assert state is not None
    other = ResumableEnv(Monitor(Simulator()))
    other.reset()
    assert other.restore_checkpoint(state._replace(actions=(0,) * len(state.actions))) == (
        "replaying its actions led elsewhere"
    )
