"""The five algorithms."""

from sb3_ppo_variants.algorithms.clip_ppo import ClipPPO
from sb3_ppo_variants.algorithms.kl_penalty_ppo import KLPenaltyPPO
from sb3_ppo_variants.algorithms.reinforce import REINFORCE
from sb3_ppo_variants.algorithms.trpo import TRPO
from sb3_ppo_variants.algorithms.unclipped_ppo import UnclippedPPO

__all__ = ["REINFORCE", "TRPO", "ClipPPO", "KLPenaltyPPO", "UnclippedPPO"]
