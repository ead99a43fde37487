"""One policy step under a KL constraint: the largest natural-gradient step, taken whole or searched."""

from typing import Literal, NamedTuple

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.distributions import head_and_parameters
from sb3_ppo_variants.objectives import UnclippedSurrogate, k3_estimate
from sb3_ppo_variants.rollouts.minibatches import Samples, select
from sb3_ppo_variants.updates.divergence import as_evaluated
from sb3_ppo_variants.updates.natural_step import FlatParameters, TrustRegion, line_search
from sb3_ppo_variants.updates.parameter_groups import parameters_behind

KLDirection = Literal["old_new", "new_old"]
KLReduction = Literal["sum", "mean"]


class PolicyEvaluation(NamedTuple):
    """
    A policy on the whole rollout.

    :param objective: E[r·A] + ent_coef·E[entropy], a scalar
    :param constraint: mean KL between the old policy and this one, with the direction and reduction chosen, a scalar
    :param kl: mean KL(old‖new) in nats, summed over action dimensions, a scalar
    :param ratio: r = π/π_old, shape (N,)
    """

    objective: th.Tensor
    constraint: th.Tensor
    kl: th.Tensor
    ratio: th.Tensor


class PolicyStep(NamedTuple):
    """
    What became of a step. The numbers are those of the policy that is now in force.

    :param objective: See ``PolicyEvaluation``
    :param constraint: See ``PolicyEvaluation``
    :param kl: See ``PolicyEvaluation``
    :param ratio: See ``PolicyEvaluation``
    :param grad_norm: L2 norm of the objective's gradient before the step
    :param accepted: Whether the parameters have moved
    :param tries: Step lengths tried
    :param finite: Whether the numbers of the step were finite
    """

    objective: float
    constraint: float
    kl: float
    ratio: th.Tensor
    grad_norm: float
    accepted: bool
    tries: int
    finite: bool


class ConstrainedUpdate:
    """
    Maximise E[r·A] + ent_coef·E[entropy] subject to mean KL ≤ δ, near the policy that collected the rollout.

    A distribution that is not one of SB3's has no closed-form KL here; Schulman's k3 estimate of KL(old‖new) from the
    actions taken stands in, and F becomes the empirical Fisher matrix.

    :param policy: The policy that collected the rollout, unchanged since, in evaluation mode
    :param action_space: Its action space
    :param samples: The whole rollout, N rows
    :param advantages: Their advantages, shape (N,)
    :param ent_coef: Weight of the entropy
    :param kl_direction: Which KL is constrained
    :param kl_reduction: Whether it is summed or averaged over action dimensions
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        action_space: spaces.Space,
        samples: Samples,
        advantages: th.Tensor,
        ent_coef: float,
        kl_direction: KLDirection,
        kl_reduction: KLReduction,
    ):
        self.policy = policy
        self.samples = samples
        self.actions = as_evaluated(samples.actions, action_space)
        self.advantages = advantages
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
        """
        :return: the policy's numbers at its present parameters, with their autograd history
        """
        distribution = self.policy.get_distribution(self.samples.observations)
        log_prob = distribution.log_prob(self.actions)
        log_ratio = log_prob - self.samples.old_log_prob
        objective = UnclippedSurrogate().value(log_ratio, self.advantages).mean()
        if self.ent_coef > 0:
            entropy = distribution.entropy()
            objective = objective + self.ent_coef * (-log_prob if entropy is None else entropy).mean()
        constraint, kl = self._divergences(distribution, log_ratio, every=1)
        return PolicyEvaluation(objective, constraint, kl, th.exp(log_ratio.detach()))

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

    def _thinned_constraint(self, every: int) -> th.Tensor:
        """The constrained KL over every so-manieth row: enough for the Fisher matrix."""
        thinned = select(self.samples, slice(None, None, every))
        distribution = self.policy.get_distribution(thinned.observations)
        log_ratio = distribution.log_prob(self.actions[::every]) - thinned.old_log_prob
        return self._divergences(distribution, log_ratio, every)[0]

    def largest_step(
        self, delta: float, cg_max_steps: int, cg_damping: float, sub_sampling_factor: int, cg_start: str
    ) -> th.Tensor | None:
        """
        :param delta: δ in nats
        :param cg_max_steps: Conjugate-gradient steps at most
        :param cg_damping: Added to the Fisher matrix's diagonal
        :param sub_sampling_factor: Use every so-manieth row for the Fisher product
        :param cg_start: ``"zero"`` or ``"noise"``
        :return: the step in the natural gradient's direction with ½·xᵀF·x = δ, shape (P,); zero where the gradient is;
            ``None`` where it is not finite
        """
        start = 1e-4 * th.randn_like(self.gradient) if cg_start == "noise" else th.zeros_like(self.gradient)
        if not th.isfinite(self.gradient).all():
            return None
        if not self.gradient.any():
            return th.zeros_like(self.gradient)
        constraint = self.before.constraint
        if sub_sampling_factor > 1:
            constraint = self._thinned_constraint(sub_sampling_factor)
        region = TrustRegion(self.parameters, constraint, cg_damping)
        return region.largest_step(self.gradient, start, delta, cg_max_steps)

    def search(self, step: th.Tensor | None, delta: float, shrinking_factor: float, max_iter: int) -> PolicyStep:
        """
        Shorten the step until the KL is at most δ and the objective has improved; stay put if that does not happen.

        :param step: The largest step
        :param delta: δ in nats
        :param shrinking_factor: In (0, 1)
        :param max_iter: Tries at most
        :return: the outcome
        """
        if step is None or not step.any():
            return self._outcome(self.before, accepted=False, tries=0, finite=step is not None)
        origin = self.parameters.read()
        tried: list[PolicyEvaluation] = []

        def accept(fraction: float) -> bool:
            self.parameters.write(origin + fraction * step)
            with th.no_grad():
                after = self.evaluate()
            tried.append(after)
            # Not finite compares as false: such a step is shortened like any other bad one.
            return bool(after.constraint <= delta) and bool(after.objective > self.before.objective)

        fraction, tries = line_search(accept, shrinking_factor, max_iter)
        if fraction is None:
            self.parameters.write(origin)
            return self._outcome(self.before, accepted=False, tries=tries, finite=_is_finite(tried[-1]))
        return self._outcome(tried[-1], accepted=True, tries=tries, finite=True)

    def take(self, step: th.Tensor | None) -> PolicyStep:
        """
        Take the step whole: the natural policy gradient.

        :param step: The largest step
        :return: the outcome
        """
        if step is None or not step.any():
            return self._outcome(self.before, accepted=False, tries=0, finite=step is not None)
        origin = self.parameters.read()
        self.parameters.write(origin + step)
        with th.no_grad():
            after = self.evaluate()
        if not _is_finite(after):
            self.parameters.write(origin)
            return self._outcome(self.before, accepted=False, tries=1, finite=False)
        return self._outcome(after, accepted=True, tries=1, finite=True)

    def _outcome(self, evaluation: PolicyEvaluation, accepted: bool, tries: int, finite: bool) -> PolicyStep:
        return PolicyStep(
            float(evaluation.objective.detach()),
            float(evaluation.constraint.detach()),
            float(evaluation.kl.detach()),
            evaluation.ratio,
            float(self.gradient.norm()),
            accepted,
            tries,
            finite,
        )


def _is_finite(evaluation: PolicyEvaluation) -> bool:
    return bool(th.isfinite(evaluation.objective) and th.isfinite(evaluation.constraint))
