"""Environments in which something goes wrong: ``Troubled-step-v0`` and the like."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Troubled(gymnasium.Env):
    """Goes wrong in the way that it is told; an episode has ten steps."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's own form)
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, trouble: str = ""):
        self.trouble, self.steps = trouble, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        late = self.steps == 9
        if late and self.trouble == "step":
            raise RuntimeError("the motor burned")
        observation = np.full(2, np.nan if late and self.trouble == "observation" else 0.0, np.float32)
        reward = {"reward": np.inf, "huge": 1e30}.get(self.trouble, 1.0) if late else 1.0
        return observation, reward, self.steps == 10 and self.trouble != "endless", False, {}


for _trouble in ("step", "observation", "reward", "huge", "endless", "none"):
    gymnasium.register(f"Troubled-{_trouble}-v0", Troubled, kwargs={"trouble": _trouble})
