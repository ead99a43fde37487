"""
Environments that cannot be solved from one observation, to compare memory with frame stacking.

``sb3_ppo_variants/CartPoleNoVel-v1`` and ``sb3_ppo_variants/PendulumNoVel-v1`` are rl_zoo3's environments of these
names, whose observations have zeros in the place of velocities. They and ``sb3_ppo_variants/Recall-v0`` also come with
their last four observations stacked, as ``…Stack``.
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, TransformObservation

#: Environment → where its observations have velocities.
VELOCITIES = {"CartPole-v1": [1, 3], "Pendulum-v1": [2]}
FRAMES = 4


def without_velocities(environment: str, **kwargs: Any) -> gymnasium.Env:
    """
    :param environment: A key of ``VELOCITIES``
    :param kwargs: Arguments of the environment
    :return: the environment, with zeros in the place of velocities
    """
    env = gymnasium.make(environment, **kwargs)
    keeps: Any = np.ones(env.observation_space.shape or (), np.float32)
    keeps[VELOCITIES[environment]] = 0
    return TransformObservation(env, lambda observation: observation * keeps, env.observation_space)


def stacked_without_velocities(environment: str, **kwargs: Any) -> gymnasium.Env:
    """
    :param environment: A key of ``VELOCITIES``
    :param kwargs: Arguments of the environment
    :return: the environment whose observations are the last four without velocities, zeros before the first
    """
    return _stacked(without_velocities(environment, **kwargs))


def _stacked(env: gymnasium.Env) -> gymnasium.Env:
    return FlattenObservation(FrameStackObservation(env, FRAMES, padding_type="zero"))


class Recall(gymnasium.Env[np.ndarray, np.int64]):
    """
    Name at the end what was shown at the beginning: 1 for the right answer, 0 for another.

    Observation: the cue, one of n, one-hot in the first step and zeros afterwards; and 1 in the last step, where the
    action is the answer. Actions before it do nothing. Without memory the best mean return is 1/n.

    :param n_cues: n ≥ 2
    :param delay: Steps between cue and answer, ≥ 1
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 4}  # type: ignore[misc]

    def __init__(self, n_cues: int = 4, delay: int = 10, render_mode: str | None = None):
        self.render_mode = render_mode
        self.n_cues, self.delay = n_cues, delay
        self.action_space = spaces.Discrete(n_cues)
        self.observation_space = spaces.Box(0.0, 1.0, (n_cues + 1,), np.float32)
        self._cue, self._steps = 0, 0

    def _observation(self) -> np.ndarray:
        observation = np.zeros(self.n_cues + 1, np.float32)
        if self._steps == 0:
            observation[self._cue] = 1
        observation[-1] = self._steps == self.delay
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Show another cue."""
        super().reset(seed=seed, options=options)
        self._cue, self._steps = int(self.np_random.integers(self.n_cues)), 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        """
        :param action: In the last step, the answer
        """
        is_over = self._steps == self.delay
        reward = float(is_over and int(action) == self._cue)
        self._steps += 1
        return self._observation(), reward, is_over, False, {}

    def render(self) -> np.ndarray:
        """The observation as a row of squares; RGB."""
        shades = (255 * (1 - self._observation())).astype(np.uint8)
        return np.repeat(np.kron(shades[None], np.ones((40, 40), np.uint8))[..., None], 3, axis=-1)


def stacked_recall(**kwargs: Any) -> gymnasium.Env:
    """
    :param kwargs: Arguments of ``Recall``
    :return: the task whose observations are the last four, zeros before the first: with its ten steps of delay, the cue
        is no longer among them when it has to be named
    """
    return _stacked(Recall(**kwargs))
