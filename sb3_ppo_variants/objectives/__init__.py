"""Objectives: surrogates, value losses, the k3 estimate of a KL, and the rules that follow a KL.

They are pure functions that know no policy. Shapes: B minibatch rows. Each takes numpy arrays or torch tensors and
returns the same kind, one value per sample; the caller averages. ``value`` is for automatic differentiation, ``slope``
(the derivative with respect to an input, never to parameters) for the closed form.
"""

from sb3_ppo_variants.objectives.adaptive_kl import KLAdaptiveRate, adapt_kl_coef, adapt_learning_rate
from sb3_ppo_variants.objectives.advantages import AdvantageNormalizer
from sb3_ppo_variants.objectives.clipped import ClippedSurrogate
from sb3_ppo_variants.objectives.discovered import DiscoveredSurrogate
from sb3_ppo_variants.objectives.dual_clipped import DualClippedSurrogate
from sb3_ppo_variants.objectives.estimates import entropy_advantage, k3_estimate
from sb3_ppo_variants.objectives.log_likelihood import LogLikelihood
from sb3_ppo_variants.objectives.objective import Objective, ReferenceKLDirection
from sb3_ppo_variants.objectives.rollback import RollbackSurrogate
from sb3_ppo_variants.objectives.scopic import ScopicSurrogate
from sb3_ppo_variants.objectives.soft_clipped import SoftClippedSurrogate
from sb3_ppo_variants.objectives.spo import SPOSurrogate
from sb3_ppo_variants.objectives.surrogate import Surrogate
from sb3_ppo_variants.objectives.surrogate_checker import check_surrogate
from sb3_ppo_variants.objectives.unclipped import UnclippedSurrogate
from sb3_ppo_variants.objectives.value_losses import ClippedSquaredError, MaxSquaredError, SquaredError, ValueLoss

__all__ = [
    "AdvantageNormalizer",
    "ClippedSquaredError",
    "ClippedSurrogate",
    "DiscoveredSurrogate",
    "DualClippedSurrogate",
    "KLAdaptiveRate",
    "LogLikelihood",
    "MaxSquaredError",
    "Objective",
    "ReferenceKLDirection",
    "RollbackSurrogate",
    "SPOSurrogate",
    "ScopicSurrogate",
    "SoftClippedSurrogate",
    "SquaredError",
    "Surrogate",
    "UnclippedSurrogate",
    "ValueLoss",
    "adapt_kl_coef",
    "adapt_learning_rate",
    "check_surrogate",
    "entropy_advantage",
    "k3_estimate",
]
