"""How an objective becomes a change of parameters: automatic differentiation, or a natural-gradient step."""

from sb3_ppo_variants.updates.autograd import AutogradUpdate, Evaluation
from sb3_ppo_variants.updates.constrained import ConstrainedUpdate, PolicyStep
from sb3_ppo_variants.updates.constrained_autograd import AutogradConstrainedUpdate
from sb3_ppo_variants.updates.critic import fit_critic
from sb3_ppo_variants.updates.divergence import Divergence, divergence_of
from sb3_ppo_variants.updates.natural_step import conjugate_gradient, largest_step, line_search
from sb3_ppo_variants.updates.parameter_groups import critic_only_parameters, separate_critic_rate
from sb3_ppo_variants.updates.statistics import UpdateStatistics

__all__ = [
    "AutogradConstrainedUpdate",
    "AutogradUpdate",
    "ConstrainedUpdate",
    "Divergence",
    "Evaluation",
    "PolicyStep",
    "UpdateStatistics",
    "conjugate_gradient",
    "critic_only_parameters",
    "divergence_of",
    "fit_critic",
    "largest_step",
    "line_search",
    "separate_critic_rate",
]
