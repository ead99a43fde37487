"""Eased copies against DummyVecEnv's own: the same returns, and as independent of the environment's buffers."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.rollouts.copies import speed_up_copies

unchangeable = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3),
    st.floats(allow_nan=False).map(np.float64), st.integers(0, 9).map(np.int64),
)  # fmt: skip
changeable = st.one_of(
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.lists(st.floats(-9, 9), max_size=3).map(np.array),
)
infos_of_a_step = st.dictionaries(st.text(max_size=3), unchangeable | changeable, max_size=4)


class Scripted(gym.Env):
    """Returns prepared infos, and one and the same array as observation."""

    def __init__(self, infos: list[dict[str, Any]], space: spaces.Space):
        self.infos, self.observation_space, self.action_space = infos, space, spaces.Discrete(2)
        self.steps = 0

    def _observation(self) -> Any:
        box = np.full(3, self.steps, np.float32)
        return {"a": box, "b": box + 1} if isinstance(self.observation_space, spaces.Dict) else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        return self._observation(), float(self.steps), self.steps % 3 == 0, False, self.infos[self.steps - 1]


box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
SPACES = [box, spaces.Dict({"a": box, "b": box})]


def played(infos: list[dict[str, Any]], space: spaces.Space, eased: bool) -> tuple[DummyVecEnv, list[Any]]:
    env = DummyVecEnv([lambda: Scripted(copy.deepcopy(infos), space), lambda: Scripted(copy.deepcopy(infos), space)])
    if eased:
        speed_up_copies(env)
    steps: list[Any] = [env.reset()]
    steps += [env.step(np.zeros(2, int)) for _ in infos]
    return env, steps


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("space", SPACES, ids=["box", "dict"])
@given(infos=st.lists(infos_of_a_step, min_size=1, max_size=4))
def test_steps_are_the_same(space: spaces.Space, infos: list[dict[str, Any]]) -> None:
    assert_same(played(infos, space, eased=True)[1], played(infos, space, eased=False)[1])


@pytest.mark.parametrize("space", SPACES, ids=["box", "dict"])
def test_what_a_step_returned_shares_nothing_with_the_buffers(space: spaces.Space) -> None:
    nested = {"array": np.zeros(2), "list": [1], "number": 1.0}
    env, (_, (observations, rewards, dones, infos)) = played([nested], space, eased=True)
    infos[0]["array"][:] = 7
    infos[0]["list"].append(2)
    infos[0]["number"] = 7
    for array in observations.values() if isinstance(observations, dict) else [observations]:
        array[:] = 7
    rewards[:] = 7
    dones[:] = True
    assert env.buf_infos[0]["array"].tolist() == [0, 0]
    assert env.buf_infos[0]["list"] == [1]
    assert env.buf_infos[0]["number"] == 1.0
    assert all(not np.any(array == 7) for array in env.buf_obs.values())
    assert not np.any(env.buf_rews == 7)
    assert not np.any(env.buf_dones)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of fork
def test_only_sb3s_own_class_is_touched() -> None:
    class Mine(DummyVecEnv):
        pass

    mine = Mine([lambda: gym.make("CartPole-v1")])
    speed_up_copies(mine)
    assert type(mine.buf_infos) is list
    theirs = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    speed_up_copies(theirs)
    assert type(theirs.unwrapped.buf_infos) is not list
    before = theirs.unwrapped.buf_infos
    speed_up_copies(theirs)
    assert theirs.unwrapped.buf_infos is before
    processes = SubprocVecEnv([lambda: gym.make("CartPole-v1")], start_method="fork")
    speed_up_copies(processes)
    processes.close()


def test_an_environment_that_was_trained_on_can_be_pickled_and_copied() -> None:
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    ClipPPO("MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, device="cpu").learn(4)
    for other in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert_same(other.step(np.zeros(1, int)), copy.deepcopy(env).step(np.zeros(1, int)))
