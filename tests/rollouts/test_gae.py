"""Advantages for the whole rollout at once, against SB3's loop over steps."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.rollouts import generalized_advantages


@settings(deadline=None, max_examples=60)
@given(
    n_steps=st.integers(1, 70),
    n_envs=st.integers(1, 5),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
    ends=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_equals_sb3s_buffer(n_steps, n_envs, gamma, gae_lambda, ends, seed) -> None:
    rng = np.random.default_rng(seed)
    box = spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(n_steps, box, box, "cpu", gae_lambda, gamma, n_envs)
    buffer.rewards[:] = rng.normal(size=(n_steps, n_envs))
    buffer.values[:] = rng.normal(size=(n_steps, n_envs))
    buffer.episode_starts[:] = rng.random((n_steps, n_envs)) < ends
    last_values = rng.normal(size=n_envs).astype(np.float32)
    dones = rng.random(n_envs) < ends
    buffer.compute_returns_and_advantage(th.from_numpy(last_values), dones)
    ours = generalized_advantages(
        buffer.rewards, buffer.values, buffer.episode_starts, last_values, dones, gamma, gae_lambda
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, buffer.advantages, rtol=1e-4, atol=1e-4)


def test_by_hand() -> None:
    # γ = 0.5, λ = 0.5, the first episode ends after step 1 (step 2 starts anew); V = (1, 2, 3), V_last = 4.
    # δ₂ = 3 + 0.5·4 − 3 = 2, A₂ = 2;  δ₁ = 2 + 0 − 2 = 0, A₁ = 0;  δ₀ = 1 + 0.5·2 − 1 = 1, A₀ = 1 + 0.25·0 = 1
    rewards, values = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [3.0]])
    starts = np.array([[1.0], [0.0], [1.0]])
    advantages = generalized_advantages(rewards, values, starts, np.array([4.0]), np.array([False]), 0.5, 0.5)
    np.testing.assert_array_equal(advantages.ravel(), [1.0, 0.0, 2.0])
    # The last step ending its episode takes V_last away: δ₂ = 3 − 3 = 0.
    advantages = generalized_advantages(rewards, values, starts, np.array([4.0]), np.array([True]), 0.5, 0.5)
    assert advantages[-1, 0] == pytest.approx(0.0)
