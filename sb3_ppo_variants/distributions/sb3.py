"""From distribution objects to heads and tensors."""

from collections.abc import Callable
from typing import Any

import torch as th
from sb3_contrib.common.maskable.distributions import (
    MaskableBernoulliDistribution,
    MaskableCategoricalDistribution,
    MaskableMultiCategoricalDistribution,
)
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from torch import distributions as torch_distributions

from sb3_ppo_variants.distributions.bernoulli import Bernoulli
from sb3_ppo_variants.distributions.beta import Beta
from sb3_ppo_variants.distributions.beta_distribution import BetaDistribution
from sb3_ppo_variants.distributions.categorical import Categorical
from sb3_ppo_variants.distributions.gaussian import Gaussian
from sb3_ppo_variants.distributions.head import Head, Parameters
from sb3_ppo_variants.distributions.multi_categorical import MultiCategorical


def _several(distribution: Any) -> Head:
    return MultiCategorical(tuple(int(size) for size in distribution.action_dims))


#: Class of a distribution → its head. gSDE counts as a Gaussian: given the state, its action is normal with mean μ(s)
#: and the variance that the noise weights give at s. (States share one noise matrix, which does not matter for a KL per
#: state.) Squashing is a bijection and does not change a KL. sb3-contrib's maskable distribution of MultiBinary actions
#: has two logits per bit, so it is a choice of two for each.
_HEADS: dict[type[Distribution], Callable[[Any], Head]] = {
    DiagGaussianDistribution: lambda _: Gaussian(),
    SquashedDiagGaussianDistribution: lambda _: Gaussian(),
    StateDependentNoiseDistribution: lambda _: Gaussian(),
    CategoricalDistribution: lambda _: Categorical(),
    MaskableCategoricalDistribution: lambda _: Categorical(),
    MultiCategoricalDistribution: _several,
    MaskableMultiCategoricalDistribution: _several,
    MaskableBernoulliDistribution: _several,
    BernoulliDistribution: lambda _: Bernoulli(),
    BetaDistribution: lambda _: Beta(),
}


def head_of(distribution: Distribution) -> Head | None:
    """
    The head with a distribution's closed forms.

    :param distribution: Any distribution
    :return: its head; ``None`` for a distribution that is neither SB3's, nor one of sb3-contrib's maskable
        ones, nor ``BetaDistribution``. A subclass of one of these does not count: its density may differ
    """
    make = _HEADS.get(type(distribution))
    return None if make is None else make(distribution)


def head_and_parameters(distribution: Distribution) -> tuple[Head, Parameters] | None:
    """
    The head with the distribution's closed forms, and the tensors that determine it (with their autograd history).

    A mask that has been applied is in them: masked logits.

    :param distribution: A distribution whose parameters are set, as ``policy.get_distribution`` returns it
    :return: head and parameters; ``None`` where ``head_of`` knows no head
    """
    head = head_of(distribution)
    # SB3's base class only declares the attribute; a distribution of a user's own may lack it.
    inner: Any = getattr(distribution, "distribution", None)
    if isinstance(head, MultiCategorical):
        # Called "distributions" in sb3-contrib.
        choices = getattr(distribution, "distributions", inner)
        return head, (th.cat([choice.logits for choice in choices], dim=-1),)
    if isinstance(head, Gaussian) and isinstance(inner, torch_distributions.Normal):
        return head, (inner.mean, inner.stddev.log())
    if isinstance(head, Categorical) and isinstance(inner, torch_distributions.Categorical):
        return head, (inner.logits,)
    if isinstance(head, Bernoulli) and isinstance(inner, torch_distributions.Bernoulli):
        return head, (inner.logits,)
    if head is not None and isinstance(distribution, BetaDistribution):
        return head, (distribution.outputs,)
    return None
