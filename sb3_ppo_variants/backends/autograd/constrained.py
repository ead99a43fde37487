"""The constrained step by automatic differentiation, for every SB3 policy."""

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.divergence import as_evaluated
from sb3_ppo_variants.backends.constrained import ConstrainedUpdate, KLDirection, KLReduction, PolicyEvaluation
from sb3_ppo_variants.backends.natural_step import FlatParameters, Product, fisher_product_of
from sb3_ppo_variants.backends.parameter_groups import parameters_behind
from sb3_ppo_variants.distributions import head_and_parameters
from sb3_ppo_variants.objectives import UnclippedSurrogate, advantage_normalizer, k3_estimate
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage
from sb3_ppo_variants.rollouts.minibatches import select


class AutogradConstrainedUpdate(ConstrainedUpdate):
    """
    ``ConstrainedUpdate`` with gradients from torch.

    A distribution that is not one of SB3's has no closed-form KL here; Schulman's k3 estimate of KL(old‖new) from the
    actions taken stands in, and F becomes the empirical Fisher matrix.

    :param policy: The policy that collected the rollout, unchanged since, in evaluation mode
    :param action_space: Its action space
    :param buffer: The full rollout buffer
    :param normalize_advantage: See ``advantage_normalizer``
    :param ent_coef: Weight of the entropy
    :param kl_direction: Which KL is constrained
    :param kl_reduction: Whether it is summed or averaged over action dimensions
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        action_space: spaces.Space,
        buffer: RolloutBuffer,
        normalize_advantage: NormalizeAdvantage,
        ent_coef: float,
        kl_direction: KLDirection,
        kl_reduction: KLReduction,
    ):
        self.policy = policy
        self.samples = samples = next(iter(buffer.get(None)))
        self.actions = as_evaluated(samples.actions, action_space)
        self.advantages = advantage_normalizer(normalize_advantage, np.asarray(buffer.advantages))(samples.advantages)
        self.ent_coef = ent_coef
        self.kl_direction = kl_direction
        self.kl_reduction = kl_reduction
        with th.no_grad():
            found = head_and_parameters(policy.get_distribution(samples.observations))
        if found is None and kl_direction == "new_old":
            raise ValueError(
                "kl_direction='new_old' needs a KL in closed form, which this policy's distribution does not have "
                "here: use 'old_new'."
            )
        # Copies: the next forward pass overwrites the distribution object.
        self.old = None if found is None else tuple(parameter.detach().clone() for parameter in found[1])
        self.before = self.evaluate()
        self.parameters = FlatParameters(parameters_behind(self.before.constraint, policy.parameters()))
        self.gradient = self.parameters.gradient(self.before.objective)

    def evaluate(self) -> PolicyEvaluation:
        """The policy's numbers at its present parameters, with their autograd history."""
        distribution = self.policy.get_distribution(self.samples.observations)
        log_prob = distribution.log_prob(self.actions)
        log_ratio = log_prob - self.samples.old_log_prob
        objective = UnclippedSurrogate().value(log_ratio, self.advantages).mean()
        if self.ent_coef != 0:
            entropy = distribution.entropy()
            objective = objective + self.ent_coef * (-log_prob if entropy is None else entropy).mean()
        constraint, kl = self._divergences(distribution, log_ratio, every=1)
        return PolicyEvaluation(objective, constraint, kl, th.exp(log_ratio.detach()))

    def fisher_product(self, sub_sampling_factor: int) -> Product:
        constraint = self.before.constraint
        if sub_sampling_factor > 1:
            thinned = select(self.samples, slice(None, None, sub_sampling_factor))
            distribution = self.policy.get_distribution(thinned.observations)
            log_ratio = distribution.log_prob(self.actions[::sub_sampling_factor]) - thinned.old_log_prob
            constraint = self._divergences(distribution, log_ratio, sub_sampling_factor)[0]
        return fisher_product_of(constraint, self.parameters)

    def read(self) -> th.Tensor:
        return self.parameters.read()

    def write(self, vector: th.Tensor) -> None:
        self.parameters.write(vector)

    def _divergences(self, distribution: Distribution, log_ratio: th.Tensor, every: int) -> tuple[th.Tensor, th.Tensor]:
        """The constrained KL, and KL(old‖new) summed; ``every``: which of the old rows the distribution is at."""
        found = head_and_parameters(distribution)
        if found is None or self.old is None:
            estimate = k3_estimate(log_ratio).mean()
            return estimate, estimate
        head, new = found
        old = tuple(parameter[::every] for parameter in self.old)
        kl = head.kl(old, new)
        constrained = kl if self.kl_direction == "old_new" else head.kl(new, old)
        if self.kl_reduction == "mean":
            constrained = constrained / head.averaged_dims(new)
        return constrained.mean(), kl.mean()
