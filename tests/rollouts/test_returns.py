"""Monte-Carlo returns against hand arithmetic and a slow, obvious loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_ppo_variants.rollouts import finished_episodes, returns_to_go

quickly = settings(max_examples=100, deadline=None, derandomize=True, database=None)

# Two environments, five steps. The first ends an episode with its second and its last step; the second never.
REWARDS = np.array([[1, 1], [2, 1], [3, 1], [4, 1], [5, 1]], np.float32)
STARTS = np.array([[1, 1], [0, 0], [1, 0], [0, 0], [0, 0]], np.float32)
DONES = np.array([True, False])


def test_returns_by_hand() -> None:
    expected = [
        # environment 0, γ = ½: 1 + 2/2; 2 | 3 + 4/2 + 5/4; 4 + 5/2; 5
        # environment 1: 1 + ½ + ¼ + ⅛ + 1/16; …; 1
        [2.0, 1.9375],
        [2.0, 1.875],
        [6.25, 1.75],
        [6.5, 1.5],
        [5.0, 1.0],
    ]
    np.testing.assert_array_equal(returns_to_go(REWARDS, STARTS, DONES, 0.5), expected)


def test_finished_by_hand() -> None:
    np.testing.assert_array_equal(finished_episodes(STARTS, DONES), [[True, False]] * 5)
    # Had the first environment's last step not ended its episode, only the first two steps were complete.
    unfinished = finished_episodes(STARTS, np.array([False, False]))
    np.testing.assert_array_equal(unfinished[:, 0], [True, True, False, False, False])


def slow_returns(rewards: np.ndarray, starts: np.ndarray, dones: np.ndarray, gamma: float) -> np.ndarray:
    """Each return summed afresh, walking forward until the episode or the rollout is over."""
    n_steps, n_envs = rewards.shape
    returns = np.zeros(rewards.shape)
    for env in range(n_envs):
        for t in range(n_steps):
            for k in range(t, n_steps):
                if k > t and starts[k, env]:
                    break
                returns[t, env] += gamma ** (k - t) * rewards[k, env]
    return returns


def slow_finished(starts: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """Whether another episode begins after the step, or the rollout's last step ended one."""
    n_steps, n_envs = starts.shape
    return np.array([[bool(starts[t + 1 :, env].any() or dones[env]) for env in range(n_envs)] for t in range(n_steps)])


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    rewards = draw(hnp.arrays(np.float64, shape, elements=st.floats(-10, 10)))
    starts = draw(hnp.arrays(np.bool_, shape)).astype(np.float64)
    return rewards, starts, draw(hnp.arrays(np.bool_, shape[1]))


@given(rollouts(), st.floats(0, 1))
@quickly
def test_returns_against_the_slow_loop(rollout: tuple[np.ndarray, np.ndarray, np.ndarray], gamma: float) -> None:
    rewards, starts, dones = rollout
    expected = slow_returns(rewards, starts, dones, gamma)
    np.testing.assert_allclose(returns_to_go(rewards, starts, dones, gamma), expected, rtol=1e-6, atol=1e-5)


@given(rollouts())
@quickly
def test_finished_against_the_slow_loop(rollout: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, starts, dones = rollout
    finished = finished_episodes(starts, dones)
    assert finished.dtype == bool
    np.testing.assert_array_equal(finished, slow_finished(starts, dones))


@given(rollouts())
@quickly
def test_with_gamma_zero_a_return_is_its_reward(rollout: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(returns_to_go(*rollout, 0.0), rollout[0].astype(np.float32))


def test_float32_as_the_buffer_has_it_and_the_rewards_stay() -> None:
    rewards, starts = REWARDS.copy(), STARTS.copy()
    assert returns_to_go(rewards, starts, DONES, 0.9).dtype == np.float32
    np.testing.assert_array_equal(rewards, REWARDS)
    np.testing.assert_array_equal(starts, STARTS)


def test_dones_may_be_numbers() -> None:
    # ``algorithm._last_episode_starts`` is boolean from an environment and may be float elsewhere.
    np.testing.assert_array_equal(
        returns_to_go(REWARDS, STARTS, DONES.astype(np.float32), 0.5), returns_to_go(REWARDS, STARTS, DONES, 0.5)
    )
    np.testing.assert_array_equal(finished_episodes(STARTS, DONES.astype(np.float32)), finished_episodes(STARTS, DONES))
