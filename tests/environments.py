"""Small environments that bring their own data, one for each kind of space."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ACTION_SPACES: dict[str, spaces.Space] = {
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([3, 2]),
    "multi_binary": spaces.MultiBinary(3),
}

OBSERVATION_SPACES: dict[str, spaces.Space] = {
    "vector": spaces.Box(-1.0, 1.0, (4,), np.float32),
    "discrete": spaces.Discrete(5),
    "image": spaces.Box(0, 255, (36, 36, 1), np.uint8),
    "dict": spaces.Dict(
        {"position": spaces.Box(-1.0, 1.0, (3,), np.float32), "level": spaces.Discrete(4)},
    ),
}


class RandomWalk(gym.Env):
    """
    Random observations; the reward depends on the action, so that there is something to learn. Episodes end at random,
    or by a time limit, so that both kinds of ending occur.
    """

    def __init__(self, observations: str = "vector", actions: str = "box", time_limit: int = 17):
        self.observation_space = OBSERVATION_SPACES[observations]
        self.action_space = ACTION_SPACES[actions]
        self.time_limit = time_limit
        self._steps = 0

    def _observe(self, space: spaces.Space):
        if isinstance(space, spaces.Dict):
            return {key: self._observe(part) for key, part in space.spaces.items()}
        if isinstance(space, spaces.Discrete):
            return int(self.np_random.integers(space.n))
        if space.dtype == np.uint8:
            return self.np_random.integers(0, 256, space.shape).astype(np.uint8)
        return self.np_random.uniform(-1, 1, space.shape).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(self.observation_space), {}

    def step(self, action):
        self._steps += 1
        reward = float(np.mean(np.asarray(action, dtype=np.float64))) + 0.1 * float(self.np_random.normal())
        terminated = bool(self.np_random.random() < 0.05)
        truncated = not terminated and self._steps >= self.time_limit
        return self._observe(self.observation_space), reward, terminated, truncated, {}


class MaskedWalk(RandomWalk):
    """
    A ``RandomWalk`` that allows some of its actions at each step, at least one of every choice, and counts the others.

    :param allowed: How likely it is that an action is allowed
    """

    def __init__(self, observations: str = "vector", actions: str = "discrete", allowed: float = 0.5):
        super().__init__(observations, actions)
        space = self.action_space
        if isinstance(space, spaces.MultiBinary):
            self.sizes = [2] * space.n
        else:
            self.sizes = space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else [int(space.n)]
        self.allowed = allowed
        self.n_invalid = 0

    def action_masks(self) -> np.ndarray:
        return self.masks

    def _draw_masks(self) -> None:
        self.masks = self.np_random.random(sum(self.sizes)) < self.allowed
        for start, size in zip(np.cumsum([0, *self.sizes[:-1]]), self.sizes, strict=True):
            self.masks[start + self.np_random.integers(size)] = True

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        self._draw_masks()
        return result

    def step(self, action):
        chosen = np.cumsum([0, *self.sizes[:-1]]) + np.asarray(action).ravel()
        self.n_invalid += not self.masks[chosen.astype(int)].all()
        result = super().step(action)
        self._draw_masks()
        return result
