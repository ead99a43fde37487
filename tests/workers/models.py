"""Models whose environments are in workers, and the oracle for what workers collect."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ppo_variants import ClipPPO, WorkerVecEnv
from tests.environments import RandomWalk

#: The model's seed is the environments' too.
N_ENVS, N_STEPS, SEED = 4, 40, 5


class Watch(BaseCallback):
    """A user's own: keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []
        self.at_end: dict[str, Any] = {}

    def _on_step(self) -> bool:
        # Step by step, the values of cut off episodes are added to rewards in place afterwards.
        rewards = self.locals["rewards"].copy()
        beside = {"rewards": rewards, "counted": self.num_timesteps, "last": self.model._last_obs}
        self.steps.append(self.locals | beside)
        return True

    def _on_rollout_end(self) -> None:
        self.at_end = dict(self.locals)


def environments(make: Any = RandomWalk, n_workers: int = 2, n_envs: int = N_ENVS, **settings: Any) -> VecEnv:
    settings = {"n_workers": n_workers, **settings}
    return make_vec_env(make, n_envs, SEED, vec_env_cls=WorkerVecEnv, vec_env_kwargs=settings)


@contextmanager
def model_with_workers(
    make: Any = RandomWalk, n_workers: int = 2, wrap: Any = None, env: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Any]:
    """A small ClipPPO whose environments are closed at the end."""
    made = environments(make, n_workers, **env or {})
    settings = {"policy": "MlpPolicy", "n_steps": N_STEPS, "batch_size": 40, "n_epochs": 2, "seed": SEED} | settings
    settings = {name: value for name, value in settings.items() if value is not None}
    algorithm = settings.pop("algorithm", ClipPPO)
    try:
        yield algorithm(env=made if wrap is None else wrap(made), **settings)
    finally:
        made.close()


def stepped_again(make: Any, actions: np.ndarray, wrap: Any = None) -> list[tuple[Any, ...]]:
    """
    What the same environments give for the same actions in one process, by SB3 alone.

    :param make: Makes an environment
    :param actions: shape (T, E, …), within the action space's bounds
    :param wrap: Puts ``VecEnvWrapper``s around them
    :return: what ``reset`` returned, and T times what ``step`` did
    """
    env: VecEnv = make_vec_env(make, actions.shape[1], SEED, vec_env_cls=DummyVecEnv)
    env = env if wrap is None else wrap(env)
    return [(env.reset(),), *(env.step(row) for row in actions)]
