"""Closed forms of SB3's action distributions, as pure functions of their parameters.

Each head has the log-probability, the entropy and the KL, their slopes (derivatives with respect to the network's
outputs), and the product of its Fisher matrix with a vector. The closed-form backend uses all of them, the autograd
backend the KL. Actions that are not allowed are masked in the logits, before a head sees them. Shapes: B rows, A action
dimensions, D discrete choices. KL is always KL(old‖new) = E_old[log π_old − log π], in nats, summed over action
dimensions, one value per row; to a reference policy it is taken in either direction.
"""

from sb3_ppo_variants.distributions.bernoulli import Bernoulli
from sb3_ppo_variants.distributions.beta import Beta
from sb3_ppo_variants.distributions.beta_distribution import BetaDistribution, DeterministicAction, NonFiniteOutputError
from sb3_ppo_variants.distributions.categorical import Categorical
from sb3_ppo_variants.distributions.gaussian import Gaussian
from sb3_ppo_variants.distributions.head import Head, Parameters
from sb3_ppo_variants.distributions.masking import masked_logits
from sb3_ppo_variants.distributions.multi_categorical import MultiCategorical
from sb3_ppo_variants.distributions.reference_kl import reference_kl, reference_kl_slope
from sb3_ppo_variants.distributions.sb3 import head_and_parameters, head_of

__all__ = [
    "Bernoulli",
    "Beta",
    "BetaDistribution",
    "Categorical",
    "DeterministicAction",
    "Gaussian",
    "Head",
    "MultiCategorical",
    "NonFiniteOutputError",
    "Parameters",
    "head_and_parameters",
    "head_of",
    "masked_logits",
    "reference_kl",
    "reference_kl_slope",
]
