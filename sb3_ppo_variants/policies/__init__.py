"""Policies that SB3 lacks: sb3-contrib's with action masks and with memory, ours with both, and ours with Betas."""

from sb3_ppo_variants.policies.beta import (
    BetaActorCriticCnnPolicy,
    BetaActorCriticPolicy,
    BetaMultiInputActorCriticPolicy,
)
from sb3_ppo_variants.policies.kinds import is_recurrent, takes_masks
from sb3_ppo_variants.policies.maskable_recurrent import (
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
)
from sb3_ppo_variants.policies.reference import ReferencePolicy

__all__ = [
    "BetaActorCriticCnnPolicy",
    "BetaActorCriticPolicy",
    "BetaMultiInputActorCriticPolicy",
    "MaskableRecurrentActorCriticCnnPolicy",
    "MaskableRecurrentActorCriticPolicy",
    "MaskableRecurrentMultiInputActorCriticPolicy",
    "ReferencePolicy",
    "is_recurrent",
    "takes_masks",
]
