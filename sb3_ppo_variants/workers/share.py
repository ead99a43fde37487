"""The environments of one worker."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from sb3_contrib.common.maskable.utils import EXPECTED_METHOD_NAME
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs

#: In ``progress``, where a worker is in none of its environments.
NO_ENVIRONMENT = -1


class Share(DummyVecEnv):
    """
    Some of the environments, stepped in turn as SB3's ``DummyVecEnv`` does. What it returns is copied where that costs
    little; its infos are the environments' own.

    :param env_fns: They make the environments
    :param first: Number of the first one
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env]], first: int):
        #: Written for the main process: how many steps have been made, and which environment is at work.
        self.progress = np.array([0, NO_ENVIRONMENT])
        self.first = first
        super().__init__(env_fns)

    def use(self, arrays: dict[Any, np.ndarray], progress: np.ndarray) -> None:
        """
        :param arrays: In shared memory: these environments' rows of ``"rewards"``, ``"dones"`` and of the observations,
            by (``"observations"``, key)
        :param progress: In shared memory
        """
        self.progress, progress[:] = progress, self.progress
        self.buf_rews, self.buf_dones = arrays["rewards"], arrays["dones"]
        self.buf_obs = OrderedDict((key, arrays["observations", key]) for key in self.keys)

    def wrap_environments(self, wrapper: Callable[[gym.Env], gym.Env]) -> None:
        """
        :param wrapper: Put around each environment
        """
        self.envs = [wrapper(env) for env in self.envs]

    def step_wait(self) -> VecEnvStepReturn:
        infos: list[dict[str, Any]] = []
        for index, env in enumerate(self.envs):
            self.progress[1] = self.first + index
            observation, self.buf_rews[index], terminated, truncated, info = env.step(self.actions[index])
            done = self.buf_dones[index] = terminated or truncated
            info["TimeLimit.truncated"] = truncated and not terminated
            if done:
                info["terminal_observation"] = observation
                observation, self.reset_infos[index] = env.reset()
            self._save_obs(index, observation)
            infos.append(info)
        self.progress[:] = self.progress[0] + 1, NO_ENVIRONMENT
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos

    def reset(self) -> VecEnvObs:
        for index, env in enumerate(self.envs):
            self.progress[1] = self.first + index
            options = {"options": self._options[index]} if self._options[index] else {}
            observation, self.reset_infos[index] = env.reset(seed=self._seeds[index], **options)
            self._save_obs(index, observation)
        self.progress[1] = NO_ENVIRONMENT
        self._reset_seeds()
        self._reset_options()
        return self._obs_from_buf()

    def action_masks(self) -> list[Any]:
        """
        :return: the action mask of each environment
        """
        masks: list[Any] = []
        for index in range(self.num_envs):
            self.progress[1] = self.first + index
            masks += self.env_method(EXPECTED_METHOD_NAME, indices=index)
        self.progress[1] = NO_ENVIRONMENT
        return masks

    def _obs_from_buf(self) -> VecEnvObs:
        return dict_to_obs(
            self.observation_space, OrderedDict((key, array.copy()) for key, array in self.buf_obs.items())
        )
