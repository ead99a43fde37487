"""Environments with one number that is not finite, and a callback that remembers."""

import copy

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from tests.backends.closed_form.networks import COMPILED
from tests.environments import RandomWalk

BACKENDS = ("autograd", "closed_form")
EVERY_BACKEND = (*BACKENDS, COMPILED)


#: Environment 1 of 2 misbehaves at its 70th step, that is step 5 of the second rollout of 64.
BAD_STEP = 70


class Faulty(RandomWalk):
    """Gives a bad number once."""

    def __init__(self, what: str, value: float, at: int = BAD_STEP, observations: str = "vector"):
        super().__init__(observations, time_limit=BAD_STEP if what == "terminal" else 17)
        self.what, self.value, self.at = what, value, at
        self._n = 0

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        self._n += 1
        if self.what == "terminal":
            terminated = False
        if self._n == self.at:
            if self.what == "reward":
                reward = self.value
            elif isinstance(observation, dict):
                observation["position"][1] = self.value
            else:
                observation[2] = self.value
            terminated = terminated and self.what != "observation"
            truncated = self.what == "terminal" or (truncated and self.what != "observation")
        return observation, reward, terminated, truncated, info


def faulty_env(what: str, value: float, observations: str = "vector", normalize: bool = False, at: int = BAD_STEP):
    bad = iter([Faulty("", 0.0, 10**9, observations), Faulty(what, value, at, observations)])
    env = make_vec_env(lambda: next(bad), n_envs=2)
    return VecNormalize(env) if normalize else env


class Remember(BaseCallback):
    """Keeps the state of policy and optimiser as it is when each rollout ends."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.kept = copy.deepcopy(self.model.get_parameters())
