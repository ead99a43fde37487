"""The algorithms."""

import sb3_ppo_variants.environments  # noqa: F401
from sb3_ppo_variants.algorithms.clip_ppo import ClipPPO
from sb3_ppo_variants.algorithms.discovered_ppo import DiscoveredPPO
from sb3_ppo_variants.algorithms.kl_penalty_ppo import KLPenaltyPPO
from sb3_ppo_variants.algorithms.reinforce import REINFORCE
from sb3_ppo_variants.algorithms.rollback_ppo import RollbackPPO
from sb3_ppo_variants.algorithms.scopic_ppo import ScopicPPO
from sb3_ppo_variants.algorithms.spo import SPO
from sb3_ppo_variants.algorithms.trpo import TRPO
from sb3_ppo_variants.algorithms.unclipped_ppo import UnclippedPPO
from sb3_ppo_variants.objectives import KLAdaptiveRate

__all__ = [
    "REINFORCE",
    "SPO",
    "TRPO",
    "ClipPPO",
    "DiscoveredPPO",
    "KLAdaptiveRate",
    "KLPenaltyPPO",
    "RollbackPPO",
    "ScopicPPO",
    "UnclippedPPO",
]
