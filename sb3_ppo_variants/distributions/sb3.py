"""From SB3's distribution objects to heads and tensors."""

import torch as th
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    StateDependentNoiseDistribution,
)
from torch import distributions as torch_distributions

from sb3_ppo_variants.distributions.bernoulli import Bernoulli
from sb3_ppo_variants.distributions.categorical import Categorical
from sb3_ppo_variants.distributions.gaussian import Gaussian
from sb3_ppo_variants.distributions.head import Head, Parameters
from sb3_ppo_variants.distributions.multi_categorical import MultiCategorical


def head_and_parameters(distribution: Distribution) -> tuple[Head, Parameters] | None:
    """
    The head with the distribution's closed forms, and the tensors that determine it (with their autograd history).

    gSDE counts as a Gaussian: given the state, its action is normal with mean μ(s) and the variance that the noise
    weights give at s. (States share one noise matrix, which does not matter for a KL per state.) Squashing is a
    bijection and does not change a KL.

    :param distribution: A distribution whose parameters are set, as ``policy.get_distribution`` returns it
    :return: head and parameters; ``None`` for a distribution that is not one of SB3's
    """
    # SB3's base class only declares the attribute; a distribution of a user's own may lack it.
    inner = getattr(distribution, "distribution", None)
    if isinstance(distribution, MultiCategoricalDistribution):
        sizes = tuple(int(size) for size in distribution.action_dims)
        return MultiCategorical(sizes), (th.cat([choice.logits for choice in distribution.distribution], dim=-1),)
    if isinstance(distribution, (DiagGaussianDistribution, StateDependentNoiseDistribution)) and isinstance(
        inner, torch_distributions.Normal
    ):
        return Gaussian(), (inner.mean, inner.stddev.log())
    if isinstance(distribution, CategoricalDistribution) and isinstance(inner, torch_distributions.Categorical):
        return Categorical(), (inner.logits,)
    if isinstance(distribution, BernoulliDistribution) and isinstance(inner, torch_distributions.Bernoulli):
        return Bernoulli(), (inner.logits,)
    return None
