"""Environments in worker processes."""

from sb3_ppo_variants.workers.errors import WorkerError
from sb3_ppo_variants.workers.vec_env import WorkerVecEnv

__all__ = ["WorkerError", "WorkerVecEnv"]
