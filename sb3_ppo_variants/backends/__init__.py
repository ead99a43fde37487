"""How an objective becomes a change of parameters: automatic differentiation, or a natural-gradient step."""

from sb3_ppo_variants.backends.autograd.constrained import AutogradConstrainedUpdate
from sb3_ppo_variants.backends.autograd.critic import fit_critic
from sb3_ppo_variants.backends.autograd.divergence import Divergence, divergence_of
from sb3_ppo_variants.backends.autograd.update import AutogradUpdate, Evaluation
from sb3_ppo_variants.backends.constrained import ConstrainedUpdate, PolicyStep
from sb3_ppo_variants.backends.natural_step import conjugate_gradient, largest_step, line_search
from sb3_ppo_variants.backends.parameter_groups import critic_only_parameters, separate_critic_rate
from sb3_ppo_variants.backends.statistics import UpdateStatistics

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
