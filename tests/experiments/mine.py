"""A user's own algorithms and environments."""

import sys
import time
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy


class MyPPO(PPO):
    """A user's own class, with an argument of its own in front of SB3's."""

    def __init__(self, *args: Any, my_argument: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.my_argument = my_argument


class Fussy(PPO):
    """Builds with three learning rates and no other, and says what it was given."""

    def __init__(self, *args: Any, **kwargs: Any):
        if kwargs.get("learning_rate", 3e-4) not in (3e-4, 1e-4, 1e-3):
            raise ValueError(f"learning_rate must be 0.0003, got {kwargs['learning_rate']}")
        super().__init__(*args, **kwargs)


class OwnForward(ActorCriticPolicy):
    """A policy that acts in a way of its own."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Line(gymnasium.Env):
    """Pays for actions near one; ten steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return np.zeros(2, np.float32), float(-abs(action[0] - 1)), self.steps == 10, False, {}


class Hangs(Line):
    """A simulator that does not come back."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.steps == 5:
            time.sleep(3600)
        return super().step(action)


class Raises(Line):
    """A simulator that breaks."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.steps == 5:
            raise RuntimeError("the motor burned")
        return super().step(action)


class Exits(Line):
    """An environment whose window has been closed."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.steps == 5:
            sys.exit()
        return super().step(action)


class CannotBeClosed(Line):
    """A simulator whose window is gone when it is to be closed."""

    def close(self) -> None:
        raise RuntimeError("the window is gone")


class Opaque(Line):
    """A simulator whose state Python does not see: a generator, which can be neither copied nor pickled."""

    def __init__(self) -> None:
        self.simulator = (i for i in range(10**9))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = super().step(action)
        observation[0] = np.sin(next(self.simulator))
        return observation, reward, terminated, truncated, info
