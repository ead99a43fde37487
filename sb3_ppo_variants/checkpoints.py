"""The public names of :mod:`sb3_ppo_variants.resume`."""

from sb3_ppo_variants.resume import NewWorldEachEpisode, ResumableCheckpointCallback, ResumableEnv

__all__ = ["NewWorldEachEpisode", "ResumableCheckpointCallback", "ResumableEnv"]
