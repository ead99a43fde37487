"""From SB3's distribution objects to closed-form heads."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
    kl_divergence,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import distributions as td

from sb3_ppo_variants.distributions import Bernoulli, Categorical, Gaussian, MultiCategorical, head_and_parameters
from tests.environments import ACTION_SPACES

B = 6


def draw(seed: int, *shape: int) -> th.Tensor:
    return th.randn(*shape, generator=th.Generator().manual_seed(seed), dtype=th.float64)


def gsde(seed: int, squash: bool = False, **settings: Any) -> StateDependentNoiseDistribution:
    distribution = StateDependentNoiseDistribution(2, squash_output=squash, **settings)
    distribution.proba_distribution_net(latent_dim=4)
    log_std = 0.3 * draw(seed + 1, 4, 2 if distribution.full_std else 1)
    return distribution.proba_distribution(draw(seed, B, 2), log_std, draw(seed + 2, B, 4))


def multi(seed: int) -> Distribution:
    distribution = MultiCategoricalDistribution([3, 2])
    distribution.proba_distribution_net(latent_dim=4)
    return distribution.proba_distribution(draw(seed, B, 5))


MAKERS = {
    "gaussian": (
        lambda s: DiagGaussianDistribution(2).proba_distribution(draw(s, B, 2), 0.3 * draw(s + 1, 2)),
        Gaussian(),
    ),
    "squashed gaussian": (
        lambda s: SquashedDiagGaussianDistribution(2).proba_distribution(draw(s, B, 2), 0.3 * draw(s + 1, 2)),
        Gaussian(),
    ),
    "gsde": (gsde, Gaussian()),
    "squashed gsde": (lambda s: gsde(s, squash=True), Gaussian()),
    "gsde, one std a feature": (lambda s: gsde(s, full_std=False), Gaussian()),
    "categorical": (lambda s: CategoricalDistribution(4).proba_distribution(draw(s, B, 4)), Categorical()),
    "multi-categorical": (multi, MultiCategorical((3, 2))),
    "bernoulli": (lambda s: BernoulliDistribution(3).proba_distribution(draw(s, B, 3)), Bernoulli()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_kl_is_the_one_sb3_would_give(name: str) -> None:
    make, head = MAKERS[name]
    old, new = make(10), make(20)
    (old_head, old_parameters), (new_head, new_parameters) = head_and_parameters(old), head_and_parameters(new)
    assert old_head == new_head == head
    expected = kl_divergence(old, new)
    # SB3 leaves the action dimensions of a Gaussian and a Bernoulli apart.
    expected = expected.sum(-1) if expected.ndim == 2 else expected
    th.testing.assert_close(head.kl(old_parameters, new_parameters), expected, rtol=1e-10, atol=1e-10)


def test_a_subclass_may_have_another_density() -> None:
    class Wider(DiagGaussianDistribution):
        def proba_distribution(self, mean_actions, log_std):
            return super().proba_distribution(mean_actions, log_std + 1)

    assert head_and_parameters(Wider(3).proba_distribution(draw(1, B, 3), draw(2, B, 3))) is None


SPACES = [*ACTION_SPACES.values(), spaces.Discrete(5), spaces.MultiBinary(1), spaces.Box(-2, 2, (2, 2))]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_of_a_policy(space: spaces.Space) -> None:
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (4,)), space, lambda _: 1e-3)
    head, parameters = head_and_parameters(policy.get_distribution(th.zeros(B, 4)))
    assert all(parameter.shape[0] == B and parameter.ndim == 2 for parameter in parameters)
    # With their history: the gradient of a KL reaches the network.
    before = tuple(parameter.detach() + 0.1 * i for i, parameter in enumerate(parameters, start=1))
    if not isinstance(head, Gaussian):
        before = tuple(parameter + th.linspace(-1, 1, parameter.shape[1]) for parameter in before)
    head.kl(before, parameters).mean().backward()
    assert policy.action_net.weight.grad.abs().sum() > 0 or policy.action_net.bias.grad.abs().sum() > 0


@pytest.mark.parametrize("squash", [False, True])
def test_of_a_gsde_policy(squash: bool) -> None:
    policy = ActorCriticPolicy(
        spaces.Box(-1, 1, (4,)), ACTION_SPACES["box"], lambda _: 1e-3, use_sde=True, squash_output=squash
    )
    head, (mean, log_std) = head_and_parameters(policy.get_distribution(th.ones(B, 4)))
    assert head == Gaussian()
    assert mean.shape == log_std.shape == (B, 2)
    log_std.sum().backward()
    assert policy.log_std.grad.abs().sum() > 0


def test_gsde_std_is_that_of_its_noise() -> None:
    # At one state the action is μ + φᵀE, E_ij ~ N(0, σ_ij²): variance Σ_i φ_i²·σ_ij², and SB3 adds 1e-6.
    distribution = StateDependentNoiseDistribution(1)
    distribution.proba_distribution_net(latent_dim=2)
    features, log_std = th.tensor([[3.0, 4.0]]), th.tensor([[0.2], [0.5]]).log()
    distribution.proba_distribution(th.tensor([[0.7]]), log_std, features)
    _, (mean, found) = head_and_parameters(distribution)
    assert mean.item() == pytest.approx(0.7)
    # 3²·0.2² + 4²·0.5² = 0.36 + 4 = 4.36
    assert found.item() == pytest.approx(0.5 * np.log(4.36 + 1e-6), rel=1e-6)
    th.manual_seed(0)
    distribution.sample_weights(log_std, 20_000)
    actions = distribution.distribution.mean + distribution.get_noise(features.expand(20_000, 2))
    # The relative standard error of a standard deviation is 1/√(2n) = 0.005.
    assert actions.std().item() == pytest.approx(found.exp().item(), rel=0.025)


@pytest.mark.parametrize("seed", range(3))
def test_squashing_does_not_change_the_kl(seed: int) -> None:
    # Sampled through the tanh, with SB3's own log-probabilities of squashed actions.
    n = 40_000
    mean, log_std = 0.3 * draw(seed, 2), -0.7 + 0.2 * draw(seed + 50, 2)
    old = SquashedDiagGaussianDistribution(2).proba_distribution(mean.expand(n, 2), log_std)
    new = SquashedDiagGaussianDistribution(2).proba_distribution((mean + 0.3).expand(n, 2), log_std + 0.2)
    th.manual_seed(seed)
    actions = old.sample()
    assert actions.abs().max() < 1
    log_ratio = old.log_prob(actions) - new.log_prob(actions)
    head, parameters = head_and_parameters(old)
    kl = head.kl(parameters, head_and_parameters(new)[1])
    th.testing.assert_close(kl, kl[:1].expand(n))
    assert abs(log_ratio.mean().item() - kl[0].item()) < 5 * log_ratio.std().item() / n**0.5


def test_parameters_outlive_the_next_forward_pass() -> None:
    # The policy has one distribution object, which every pass sets anew.
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (4,)), ACTION_SPACES["box"], lambda _: 1e-3)
    _, (mean, _) = head_and_parameters(policy.get_distribution(th.zeros(B, 4)))
    kept = mean.clone()
    with th.no_grad():
        policy.action_net.bias.add_(1.0)
    _, (moved, _) = head_and_parameters(policy.get_distribution(th.zeros(B, 4)))
    th.testing.assert_close(mean, kept, rtol=0, atol=0)
    th.testing.assert_close(moved, kept + 1.0)


class Foreign(Distribution):
    """A user's own distribution, of which only what SB3 asks for is there."""

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> Any: ...
    def proba_distribution(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        return actions.sum(-1)

    def entropy(self) -> None: ...
    def sample(self) -> Any: ...
    def mode(self) -> Any: ...
    def actions_from_params(self, *args: Any, **kwargs: Any) -> Any: ...
    def log_prob_from_params(self, *args: Any, **kwargs: Any) -> Any: ...


def test_a_foreign_distribution_has_no_closed_form() -> None:
    foreign = Foreign()
    foreign.distribution = td.Laplace(th.zeros(B, 2), th.ones(B, 2))
    assert head_and_parameters(foreign) is None


def test_a_gaussian_with_another_inside_has_no_closed_form() -> None:
    changed = DiagGaussianDistribution(2).proba_distribution(th.zeros(B, 2), th.zeros(2))
    changed.distribution = td.StudentT(3.0, th.zeros(B, 2), th.ones(B, 2))
    assert head_and_parameters(changed) is None


# SB3's base class announces ``distribution`` but does not set it.
def test_a_foreign_distribution_that_wraps_nothing_has_no_closed_form() -> None:
    assert head_and_parameters(Foreign()) is None


# Were only the inner distribution looked at, its "exact" KL would be 0 however far the components move.
def test_a_foreign_mixture_is_not_a_categorical() -> None:
    mixture = Foreign()
    mixture.distribution = td.Categorical(logits=th.zeros(B, 2))
    mixture.components = td.Normal(th.zeros(B, 2), th.ones(B, 2))
    assert head_and_parameters(mixture) is None
