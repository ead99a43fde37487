"""Environments in worker processes."""

import sb3_ppo_variants.environments  # noqa: F401  # what a worker is handed may be an id
from sb3_ppo_variants.workers.errors import WorkerError
from sb3_ppo_variants.workers.vec_env import WorkerVecEnv

__all__ = ["WorkerError", "WorkerVecEnv"]
