"""The minibatch update in closed form: the objective's slopes, chained backwards by hand."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic, Evaluated, Slopes
from sb3_ppo_variants.backends.closed_form.records import Records
from sb3_ppo_variants.backends.closed_form.rollout import FlatRollout
from sb3_ppo_variants.backends.settings import UpdateSettings
from sb3_ppo_variants.backends.statistics import UpdateStatistics
from sb3_ppo_variants.distributions import Parameters, reference_kl_slope
from sb3_ppo_variants.objectives import AdvantageNormalizer
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.minibatches import drawing_order


class ClosedFormEvaluation(NamedTuple):
    """
    Forward passes on a minibatch; valid until the next one of the same size.

    :param minibatch: The rows
    :param evaluated: The policy on them; without values where no critic is trained
    :param log_ratio: log π − log π_old, shape (B,)
    :param row_kl: KL(old‖new), shape (B,); ``None`` where neither penalty nor learning rate needs it
    """

    minibatch: Rows
    evaluated: Evaluated
    log_ratio: np.ndarray
    row_kl: np.ndarray | None

    @property
    def kl(self) -> float:
        """The exact KL(old‖new), averaged over the minibatch; NaN where it is not needed."""
        return math.nan if self.row_kl is None else float(np.mean(self.row_kl))

    @property
    def known_loss(self) -> float | None:
        """Losses wait for the statistics; a loss that is not finite shows in the gradient."""
        return None

    @property
    def approx_kl(self) -> float:
        """Schulman's k3 estimate of KL(old‖new), averaged over the minibatch."""
        return float(np.mean(np.exp(self.log_ratio) - 1 - self.log_ratio))


class ClosedFormUpdate:
    """
    ``Update`` by hand, equal to ``AutogradUpdate``'s numbers up to rounding.

    The loss is −J of ``Objective``; each factor of its gradient is a ``slope``: ∂J/∂log r of the surrogate, ∂log r of
    the distribution's parameters, those of the network's parameters. Statistics need no gradient and wait:
    ``Records``.

    :param network: The policy in numpy
    :param rollout: N rows
    :param settings: What is maximised, and how
    """

    def __init__(self, network: ClosedFormActorCritic, rollout: FlatRollout, settings: UpdateSettings):
        self.network = network
        self.rollout = rollout
        self.settings = settings
        self.objective = objective = settings.objective
        advantages, kept = rollout.rows.advantages, settings.kept_rows
        self.normalizer = AdvantageNormalizer(
            settings.normalize_advantage, advantages if kept is None else advantages[kept]
        )
        network.bound.show_gradient()
        self.adams = network.adams(actor=True, critic=objective.value_loss is not None)
        #: The old policy's distributions, N rows each; ``None`` where no KL needs them.
        self.old: Parameters | None = None
        if settings.needs_old_policy:
            self.old = self._parameters_of_all_rows()
        if self.old is not None and settings.needs_minibatch_kl:
            rollout.rows.old_parameters = self.old
        self._epoch_starts: list[int] = []
        self._records = Records(objective, network.head)
        self._grad_norms: list[float] = []

    def keep_near(self, reference_parameters: Parameters) -> None:
        self.rollout.rows.reference_parameters = self.rollout.as_arrays(reference_parameters)

    # ---- The loop's three calls ----

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        self._epoch_starts.append(len(self._records))
        order = drawing_order(len(self.rollout), self.settings.kept_rows)
        size = batch_size or len(order)
        for numbers in self.rollout.stretches(order, size):
            # A copy of the rows of many minibatches, each of which is then a view.
            rows = self.rollout.take(numbers)
            rows.advantages = self.normalizer.minibatches(rows.advantages, size)
            yield from rows.split(size)

    def evaluate(self, minibatch: Rows) -> ClosedFormEvaluation:
        rows, with_values = minibatch, self.objective.value_loss is not None
        evaluated = self.network.evaluate(rows.observations, rows.actions, rows.action_masks, with_values)
        log_ratio = evaluated.log_prob - rows.old_log_prob
        old = rows.old_parameters
        row_kl = self.network.head.kl(old, evaluated.parameters) if old else None
        evaluation = ClosedFormEvaluation(minibatch, evaluated, log_ratio, row_kl)
        self._keep(evaluation)
        return evaluation

    def step(self, evaluation: ClosedFormEvaluation) -> bool:
        norm = self.network.step(evaluation.evaluated, self.slopes(evaluation), self.adams, self.settings.max_grad_norm)
        if norm is None:
            self._records.forget_last()
            return False
        self._grad_norms.append(norm)
        return True

    def slopes(self, evaluation: ClosedFormEvaluation) -> Slopes:
        """
        :param evaluation: What ``evaluate`` returned last
        :return: those of the loss, −J, from which the network's backward pass begins
        """
        objective, batch, evaluated = self.objective, evaluation.minibatch, evaluation.evaluated
        # −1/B: from the sum over rows to the mean, and from objective to loss.
        scale = -1 / len(batch)
        surrogate_slopes = objective.surrogate.slope(evaluation.log_ratio, batch.advantages)
        # A setting that is a numpy float64 turns float32 into float64.
        d_log_prob = np.asarray(surrogate_slopes, evaluation.log_ratio.dtype) * scale
        others = []
        if objective.kl_coef > 0:
            kl_slopes = self.network.head.kl_slope(batch.old_parameters, evaluated.parameters)
            others.append(tuple(-(scale * objective.kl_coef) * slope for slope in kl_slopes))
        if batch.reference_parameters:
            kl_slopes = reference_kl_slope(
                self.network.head, batch.reference_parameters, evaluated.parameters, objective.reference_kl_direction
            )
            others.append(tuple(-(scale * objective.reference_kl_coef) * slope for slope in kl_slopes))
        d_values = None
        if objective.value_loss is not None and evaluated.vf is not None:
            value_slopes = objective.value_loss.slope(evaluated.vf[-1][:, 0], batch.old_values, batch.returns)
            d_values = value_slopes * (-scale * objective.vf_coef)
        return Slopes(d_log_prob, scale * objective.ent_coef, others, d_values)

    # ---- After the loop ----

    def measured_kl(self) -> float:
        return math.nan if self.old is None else self.rollout.mean_kl(self.old, "ref_new")

    def statistics(self) -> UpdateStatistics:
        return self._records.statistics(self._epoch_starts, self._grad_norms)

    # ---- Pieces ----

    def _parameters_of_all_rows(self) -> Parameters:
        # Copies: the arrays are the network's own, and log σ is about to move.
        chunks = [
            [np.broadcast_to(part, parameters[0].shape).copy() for part in parameters]
            for _, parameters in self.rollout.parameters_in_order()
        ]
        return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))

    def _keep(self, evaluation: ClosedFormEvaluation) -> None:
        self._records.keep(
            evaluation.minibatch,
            evaluation.log_ratio,
            evaluation.evaluated.entropy,
            # A copy: the next pass overwrites the network's output.
            None if (vf := evaluation.evaluated.vf) is None else vf[-1][:, 0].copy(),
            evaluation.row_kl,
            evaluation.evaluated.parameters,
        )
