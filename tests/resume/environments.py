"""Environments that can be kept in different ways, or not at all."""

import random
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counter(gym.Env):
    """Counts from a random start, in a list that is its only state."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.hidden: Any = [0.0]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.hidden[0] = float(self.np_random.normal())
        return np.array(self.hidden), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.hidden[0] += float(action)
        return np.array(self.hidden), self.hidden[0], self.hidden[0] > 15, False, {}


class Handle:
    """Stands for the memory of a simulator."""

    def __init__(self) -> None:
        self.value = 0.0

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a handle")

    def __setitem__(self, index: int, value: float) -> None:
        self.value = value

    def __getitem__(self, index: int) -> float:
        return self.value

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([self.value])


class Simulator(Counter):
    """Can be replayed, but not copied."""

    def __init__(self) -> None:
        self.hidden = Handle()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        _, *rest = super().step(action)
        return np.array([self.hidden.value]), *rest  # type: ignore[return-value]

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        return np.array([self.hidden.value]), {}


class Endless(Simulator):
    """Its first episode never ends."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, *_ = super().step(action)
        return observation, reward, False, False, {}


class Dice(Counter):
    """Draws from the process's random generators."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.hidden[0] += random.random() + np.random.random()
        return super().step(action)


class OwnProtocol(Simulator):
    def get_checkpoint_state(self) -> Any:
        return self.hidden.value, self.np_random

    def set_checkpoint_state(self, state: Any) -> None:
        self.hidden.value, self.np_random = state


class BegunByReset(Counter):
    """Has no state before its first reset, and none that can be pickled if ``handle`` is set."""

    handle: Any = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.episodes = getattr(self, "episodes", 0) + 1
        return super().reset(**kwargs)

    def get_checkpoint_state(self) -> Any:
        return self.episodes, self.hidden[0], self.np_random, self.handle

    def set_checkpoint_state(self, state: Any) -> None:
        self.episodes, self.hidden[0], self.np_random, self.handle = state


class BegunWithAHandle(BegunByReset):
    handle = Handle()


class Noisy(Simulator):
    """Can be neither copied nor replayed: it draws from a generator outside of it."""

    generator = np.random.default_rng()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.hidden[0] += abs(float(self.generator.normal()))  # upwards only: every episode is short
        return super().step(action)
