"""
An environment whose best actions lie at the bounds, to compare distributions over bounded actions:
``sb3_ppo_variants/Corners-v0``.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Corners(gymnasium.Env[np.ndarray, np.ndarray]):
    """
    Push each lever as far as it goes, to the side that is shown.

    Observation: the sides s, random in each step, in {−1, 1}^d. Action: a in [−1, 1]^d. Reward: the mean of s·a, at
    most 1, and 1 only at a corner of the Box. The best return is the number of steps; uniform actions give 0 on
    average.

    :param n_levers: d ≥ 1
    :param n_steps: Length of an episode, ≥ 1
    """

    def __init__(self, n_levers: int = 4, n_steps: int = 100):
        self.n_steps = n_steps
        self.observation_space = spaces.Box(-1.0, 1.0, (n_levers,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (n_levers,), np.float32)
        self._sides: np.ndarray = np.ones(n_levers, np.float32)
        self._steps = 0

    def _next_sides(self) -> np.ndarray:
        self._sides = self.np_random.choice([-1.0, 1.0], self._sides.shape).astype(np.float32)
        return self._sides

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin with random sides."""
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._next_sides(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """
        :param action: a, shape (d,)
        """
        reward = float((self._sides * action).mean())
        self._steps += 1
        return self._next_sides(), reward, self._steps == self.n_steps, False, {}
