"""The constrained step in closed form: Fisher products by a tangent pass forward and a slope pass back."""

import numpy as np
import torch as th

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic, Evaluated, Slopes
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.backends.constrained import PolicyEvaluation
from sb3_ppo_variants.backends.natural_step import Product
from sb3_ppo_variants.backends.settings import ConstrainedSettings
from sb3_ppo_variants.distributions import reference_kl, reference_kl_slope
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
        at_old = network.evaluate(rows.observations, rows.actions, rows.action_masks, with_values=False)
        # Copies: later passes overwrite the network's output, and log σ moves.
        self.old = tuple(np.broadcast_to(p, at_old.parameters[0].shape).copy() for p in at_old.parameters)
        self.gradient = self._gradient(at_old)
        self.before = self.evaluate()

    def evaluate(self) -> PolicyEvaluation:
        head, output = self.network.head, self.network.pi.forward(self.rows.observations)[-1]
        parameters = self.network.head_parameters(output, self.rows.action_masks)
        log_ratio = head.log_prob(parameters, self.rows.actions) - self.rows.old_log_prob
        objective = UnclippedSurrogate().value(log_ratio, self.rows.advantages).mean()
        if self.settings.ent_coef != 0:
            objective = objective + self.settings.ent_coef * head.entropy(parameters).mean()
        if self.rows.reference_parameters:
            row_kl = reference_kl(
                head, self.rows.reference_parameters, parameters, self.settings.reference_kl_direction
            )
            objective = objective - self.settings.reference_kl_coef * row_kl.mean()
        new = tuple(np.broadcast_to(parameter, parameters[0].shape) for parameter in parameters)
        kl = head.kl(self.old, new)
        constraint = kl if self.settings.kl_direction == "old_new" else head.kl(new, self.old)
        return PolicyEvaluation(
            th.as_tensor(objective, device="cpu"),
            th.as_tensor(constraint.mean() / self._averaged_dims(), device="cpu"),
            th.as_tensor(kl.mean(), device="cpu"),
            th.from_numpy(np.exp(log_ratio)),
        )

    def _averaged_dims(self) -> int:
        return self.network.head.averaged_dims(self.old) if self.settings.kl_reduction == "mean" else 1

    def _gradient(self, at_old: Evaluated) -> th.Tensor:
        rows, settings, scale = self.rows, self.settings, 1 / len(self.rows)
        d_log_prob = UnclippedSurrogate().slope(at_old.log_prob - rows.old_log_prob, rows.advantages) * scale
        others = []
        if rows.reference_parameters:
            kl_slopes = reference_kl_slope(
                self.network.head, rows.reference_parameters, at_old.parameters, settings.reference_kl_direction
            )
            others.append(tuple(-(scale * settings.reference_kl_coef) * slope for slope in kl_slopes))
        self.network.backward(at_old, Slopes(d_log_prob, scale * settings.ent_coef, others, values=None))
        return self._actor_gradient()

    def _actor_gradient(self) -> th.Tensor:
        return th.from_numpy(self.network.bound.gradient[self.network.actor_span].copy())

    def fisher_product(self, sub_sampling_factor: int) -> Product:
        network = self.network
        thinned = self.rows.select(slice(None, None, sub_sampling_factor))
        passed = network.pi.forward(np.ascontiguousarray(thinned.observations))
        parameters = network.head_parameters(passed[-1], thinned.action_masks)
        scale = 1 / (len(passed[0]) * self._averaged_dims())

        def product(vector: th.Tensor) -> th.Tensor:
            tangent = network.actor_tangent(passed, vector.numpy())
            moved = network.head.fisher_product(parameters, tangent)
            network.actor_backward(passed, tuple(part * scale for part in moved))
            return self._actor_gradient()

        return product

    def read(self) -> th.Tensor:
        return th.from_numpy(self.network.bound.flat[self.network.actor_span].copy())

    def write(self, vector: th.Tensor) -> None:
        self.network.bound.flat[self.network.actor_span] = vector.numpy()
