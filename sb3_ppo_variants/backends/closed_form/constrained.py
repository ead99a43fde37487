"""The constrained step in closed form: Fisher products by a tangent pass forward and a slope pass back."""

import numpy as np
import torch as th

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.backends.constrained import PolicyEvaluation
from sb3_ppo_variants.backends.natural_step import Product
from sb3_ppo_variants.backends.settings import ConstrainedSettings
from sb3_ppo_variants.distributions import Parameters, reference_kl, reference_kl_slope
from sb3_ppo_variants.objectives import AdvantageNormalizer, UnclippedSurrogate
from sb3_ppo_variants.rollouts.minibatches import drawing_order


class ClosedFormConstrainedUpdate:
    """
    ``ConstrainedUpdate`` with gradients by hand.

    F = E[Jᵀ M J] with J the Jacobian of the head's parameters and M their Fisher matrix; F·v is J·v (a tangent pass),
    times M, times Jᵀ (a backward pass): no second derivatives.

    :param network: The policy in numpy
    :param rollout: The whole rollout; its rows are put in the order in which SB3's buffer would draw them
    :param settings: What is constrained, and how
    """

    def __init__(
        self,
        network: ClosedFormActorCritic,
        rollout: FlatRollout,
        settings: ConstrainedSettings,
    ):
        self.network = network
        self.settings = settings
        self.parameters = network.actor_parameters
        if settings.reference_kl_coef > 0:
            rollout.rows.reference_parameters = rollout.as_arrays(settings.reference_parameters)
        self.rows = rows = rollout.take(drawing_order(len(rollout), kept=None))
        rows.advantages = AdvantageNormalizer(settings.normalize_advantage, rows.advantages)(rows.advantages)
        self._passed, self._at_old, self._log_ratio = self._forward()
        # Copies: later passes overwrite the network's output, and log σ moves.
        self.old = tuple(np.broadcast_to(p, self._at_old[0].shape).copy() for p in self._at_old)
        self.before = self.evaluate()
        self.gradient = self._gradient()

    def _forward(self) -> tuple[list[np.ndarray], Parameters, np.ndarray]:
        passed = self.network.pi.forward(self.rows.observations)
        parameters = self.network.parameters(passed[-1], self.rows.action_masks)
        log_ratio = self.network.head.log_prob(parameters, self.rows.actions) - self.rows.old_log_prob
        return passed, parameters, log_ratio

    def evaluate(self) -> PolicyEvaluation:
        _, parameters, log_ratio = self._forward()
        head = self.network.head
        objective = UnclippedSurrogate().value(log_ratio, self.rows.advantages).mean()
        if self.settings.ent_coef != 0:
            objective = objective + self.settings.ent_coef * head.entropy(parameters).mean()
        if self.rows.reference_parameters:
            of = head, self.rows.reference_parameters, parameters, self.settings.reference_kl_direction
            objective = objective - self.settings.reference_kl_coef * reference_kl(*of).mean()
        new = tuple(np.broadcast_to(parameter, parameters[0].shape) for parameter in parameters)
        kl = head.kl(self.old, new)
        constraint = kl if self.settings.kl_direction == "old_new" else head.kl(new, self.old)
        return PolicyEvaluation(
            th.as_tensor(objective),
            th.as_tensor(constraint.mean() / self._averaged_dims()),
            th.as_tensor(kl.mean()),
            th.from_numpy(np.exp(log_ratio)),
        )

    def _averaged_dims(self) -> int:
        return self.network.head.averaged_dims(self.old) if self.settings.kl_reduction == "mean" else 1

    def _gradient(self) -> th.Tensor:
        head, scale = self.network.head, 1 / len(self.rows)
        weight = UnclippedSurrogate().slope(self._log_ratio, self.rows.advantages) * scale
        _, slopes_of_log_prob = head.log_prob_and_slope(self._at_old, self.rows.actions)
        slopes = [slope * weight[:, None] for slope in slopes_of_log_prob]
        if self.settings.ent_coef != 0:
            for slope, of_entropy in zip(slopes, head.entropy_slope(self._at_old), strict=True):
                slope += (scale * self.settings.ent_coef) * of_entropy
        if self.rows.reference_parameters:
            of = head, self.rows.reference_parameters, self._at_old, self.settings.reference_kl_direction
            for slope, of_kl in zip(slopes, reference_kl_slope(*of), strict=True):
                slope -= (scale * self.settings.reference_kl_coef) * of_kl
        return self._actor_gradient(self._passed, tuple(slopes))

    def _actor_gradient(self, passed: list[np.ndarray], slopes: Parameters) -> th.Tensor:
        self.network.actor_backward(passed, slopes)
        return th.from_numpy(self.network.bound.gradient[self.network.actor_span].copy())

    def fisher_product(self, sub_sampling_factor: int) -> Product:
        network = self.network
        thinned = self.rows.select(slice(None, None, sub_sampling_factor))
        passed = network.pi.forward(np.ascontiguousarray(thinned.observations))
        parameters = network.parameters(passed[-1], thinned.action_masks)
        scale = 1 / (len(passed[0]) * self._averaged_dims())

        def product(vector: th.Tensor) -> th.Tensor:
            tangent = network.actor_tangent(passed, vector.numpy())
            moved = network.head.fisher_product(parameters, tangent)
            return self._actor_gradient(passed, tuple(part * scale for part in moved))

        return product

    def read(self) -> th.Tensor:
        return th.from_numpy(self.network.bound.flat[self.network.actor_span].copy())

    def write(self, vector: th.Tensor) -> None:
        self.network.bound.flat[self.network.actor_span] = vector.numpy()
