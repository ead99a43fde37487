"""PPO-Clip, KL-penalty PPO, the unclipped surrogate, REINFORCE and TRPO for Stable-Baselines3."""

from sb3_ppo_variants.algorithms import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO

__version__ = "0.1.0"

__all__ = ["REINFORCE", "TRPO", "ClipPPO", "KLPenaltyPPO", "UnclippedPPO", "__version__"]
