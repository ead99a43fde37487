"""The constrained step by automatic differentiation, for every SB3 policy."""

import warnings
from contextlib import nullcontext

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.evaluation import DistributionAtRows, distribution_at
from sb3_ppo_variants.backends.autograd.kl import old_kl, parameters_of, reference_kl_at
from sb3_ppo_variants.backends.constrained import PolicyEvaluation
from sb3_ppo_variants.backends.natural_step import FlatParameters, Product, fisher_product_of
from sb3_ppo_variants.backends.parameter_groups import parameters_behind, without_cudnn
from sb3_ppo_variants.backends.settings import ConstrainedSettings
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import AdvantageNormalizer, UnclippedSurrogate, entropy_advantage
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.acting import as_evaluated
from sb3_ppo_variants.rollouts.minibatches import minibatches


class AutogradConstrainedUpdate:
    """
    ``ConstrainedUpdate`` with gradients from torch.

    A distribution that is not one of SB3's has no closed-form KL here; Schulman's k3 estimate of KL(old‖new) from the
    actions taken replaces it, and F becomes the empirical Fisher matrix.

    :param policy: The policy that collected the rollout, unchanged since, in evaluation mode
    :param buffer: The full rollout buffer
    :param settings: What is constrained, and how
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        buffer: RolloutBuffer,
        settings: ConstrainedSettings,
    ):
        self.policy = policy
        self.settings = settings
        rows, numbers = next(minibatches(buffer, None, None, settings.sequences.length, fused=True))
        if settings.reference_kl_coef > 0:
            rows.reference_parameters = tuple(parameter[numbers] for parameter in settings.reference_parameters)
        self.rows = rows
        self.actions = as_evaluated(rows.actions, policy.action_space)
        normalizer = AdvantageNormalizer(settings.normalize_advantage, np.asarray(buffer.advantages))
        self.advantages = normalizer(rows.advantages)
        self.old = parameters_of(policy, [rows])
        if not self.old:
            self._estimate_kl()
        self.before = self.evaluate()
        self.parameters = parameters_behind(self.before.constraint, policy.parameters())
        self._flat = FlatParameters(self.parameters)
        self.gradient = self._flat.gradient(self.before.objective)

    def _estimate_kl(self) -> None:
        """Say that the KL is estimated, and refuse what only its closed form can do."""
        for name, possible in (("kl_direction", "old_new"), ("kl_reduction", "sum")):
            if (given := getattr(self.settings, name)) != possible:
                raise ValueError(
                    f"{name}={given!r} needs a KL in closed form, which this policy's distribution does not have "
                    f"here: use {possible!r}."
                )
        warnings.warn(
            "The KL of this policy's distribution has no closed form here: the constraint and train/kl are Schulman's "
            "k3 estimate at the actions taken, and the KL itself may exceed target_kl.",
            stacklevel=2,
        )

    def evaluate(self) -> PolicyEvaluation:
        """The policy's numbers at its present parameters, with their autograd history."""
        distribution = self._distribution_at(self.rows)
        log_prob = distribution.log_prob(self.actions)
        log_ratio = log_prob - self.rows.old_log_prob
        surrogate = UnclippedSurrogate()
        objective = surrogate.value(log_ratio, self.advantages).mean()
        if self.settings.ent_coef != 0:
            bonus = distribution.entropy()
            if bonus is None:
                bonus = surrogate.value(log_ratio, entropy_advantage(self.rows.old_log_prob))
            objective = objective + self.settings.ent_coef * bonus.mean()
        if self.rows.reference_parameters:
            row_kl = reference_kl_at(distribution, self.rows.reference_parameters, self.settings.reference_kl_direction)
            objective = objective - self.settings.reference_kl_coef * row_kl.mean()
        constraint, kl = self._kls(distribution, log_ratio, self.old)
        return PolicyEvaluation(objective, constraint, kl, th.exp(log_ratio.detach()))

    def fisher_product(self, sub_sampling_factor: int) -> Product:
        constraint = self.before.constraint
        if sub_sampling_factor > 1:
            which, thinned = self.rows.every(sub_sampling_factor)
            distribution = self._distribution_at(thinned)
            log_ratio = distribution.log_prob(self.actions[which]) - thinned.old_log_prob
            old = tuple(parameter[which] for parameter in self.old)
            constraint = self._kls(distribution, log_ratio, old)[0]
        return fisher_product_of(constraint, self._flat)

    def read(self) -> th.Tensor:
        return self._flat.read()

    def write(self, vector: th.Tensor) -> None:
        self._flat.write(vector)

    def _distribution_at(self, rows: Rows) -> DistributionAtRows:
        with nullcontext() if rows.sequences is None else without_cudnn():
            return distribution_at(self.policy, rows)

    def _kls(
        self, distribution: DistributionAtRows, log_ratio: th.Tensor, old: Parameters
    ) -> tuple[th.Tensor, th.Tensor]:
        """The constrained KL, and KL(old‖new) summed."""
        kl = old_kl(distribution, old, log_ratio)
        found = distribution.head_and_parameters()
        if not old or found is None:
            return kl.mean(), kl.mean()
        head, new = found
        constrained = kl if self.settings.kl_direction == "old_new" else head.kl(new, old)
        if self.settings.kl_reduction == "mean":
            constrained = constrained / head.averaged_dims(new)
        return constrained.mean(), kl.mean()
