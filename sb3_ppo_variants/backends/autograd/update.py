"""The update by automatic differentiation: for every SB3 policy, and equal to SB3's PPO bit for bit."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.evaluation import distribution_after_evaluation, evaluate_actions
from sb3_ppo_variants.backends.autograd.kl import mean_old_kl, old_kl, parameters_of, reference_kl_at
from sb3_ppo_variants.backends.autograd.refreshing import refresh_states
from sb3_ppo_variants.backends.settings import UpdateSettings
from sb3_ppo_variants.backends.statistics import UpdateStatistics
from sb3_ppo_variants.distributions import Parameters
from sb3_ppo_variants.objectives import AdvantageNormalizer, ValueLoss, entropy_advantage
from sb3_ppo_variants.rollouts import Rows, minibatches, rows_in_order
from sb3_ppo_variants.rollouts.minibatches import CHUNK_SIZE, drawn_rows, draws_as_sb3


class AutogradEvaluation(NamedTuple):
    """
    An objective evaluated on a minibatch, and those of its numbers that the statistics need, still on the device.

    :param loss: −J, a scalar with its autograd history
    :param approx_kl: Schulman's k3 estimate of KL(old‖new), averaged over the minibatch
    :param ratio: r = π/π_old, shape (B,)
    :param policy_loss: −E[surrogate], a scalar
    :param entropy_loss: −E[entropy], a scalar
    :param value_loss: a scalar; ``None`` where no critic is trained
    :param mean_kl: KL(old‖new), a scalar; ``None`` where neither penalty nor learning rate needs it
    """

    loss: th.Tensor
    approx_kl: th.Tensor
    ratio: th.Tensor
    policy_loss: th.Tensor
    entropy_loss: th.Tensor
    value_loss: th.Tensor | None
    mean_kl: th.Tensor | None

    @property
    def kl(self) -> float:
        """KL(old‖new), averaged over the minibatch; NaN where it is not needed."""
        return math.nan if self.mean_kl is None else float(self.mean_kl)

    @property
    def known_loss(self) -> float | None:
        """The loss."""
        return float(self.loss.detach())


class AutogradUpdate:
    """
    ``Update`` by torch. The order of operations is SB3's, because floating-point sums depend on it.

    :param policy: The policy, whose optimiser takes the steps
    :param buffer: The full rollout buffer
    :param settings: What is maximised, and how
    """

    def __init__(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, settings: UpdateSettings):
        self.policy = policy
        self.buffer = buffer
        self.settings = settings
        self.objective = settings.objective
        advantages = np.asarray(getattr(buffer, "advantages", ()))
        if settings.normalize_advantage == "rollout" and not advantages.size:
            raise ValueError(
                f"normalize_advantage='rollout' needs the rollout's advantages, and {type(buffer).__name__} has no "
                "array called advantages: call it so, or pass normalize_advantage=True or False."
            )
        if settings.kept_rows is not None:
            flat = advantages if buffer.generator_ready else buffer.swap_and_flatten(advantages)
            advantages = flat.ravel()[settings.kept_rows]
        self.normalizer = AdvantageNormalizer(settings.normalize_advantage, advantages)
        #: The old policy's distributions, N rows each, once noted; empty where only the k3 estimate is available.
        self.old: Parameters | None = None
        self._reference: Parameters = ()
        self._records: list[AutogradEvaluation] = []
        self._grad_norms: list[th.Tensor] = []
        self._epoch_starts: list[int] = []

    def keep_near(self, reference_parameters: Parameters) -> None:
        self._reference = reference_parameters

    def epoch(self, batch_size: int | None) -> Iterator[Rows]:
        self._epoch_starts.append(len(self._records))
        sequences = self.settings.sequences
        if len(self._epoch_starts) > 1:
            refresh_states(self.policy, self.buffer, sequences)
        for rows, numbers in minibatches(self.buffer, batch_size, self.settings.kept_rows, sequences.length):
            # The first minibatch of a user's own buffer has flattened it.
            if self.settings.needs_old_policy and self.old is None:
                # Without row numbers a minibatch's old parameters cannot be found again.
                self.old = () if numbers is None else parameters_of(self.policy, rows_in_order(self.buffer))
            if self.old and numbers is not None and self.settings.needs_minibatch_kl:
                rows = replace(rows, old_parameters=tuple(parameter[numbers] for parameter in self.old))
            if self._reference:
                rows = replace(rows, reference_parameters=tuple(parameter[numbers] for parameter in self._reference))
            yield rows

    def evaluate(self, minibatch: Rows) -> AutogradEvaluation:
        values, log_prob, entropy = evaluate_actions(self.policy, minibatch)
        log_ratio = log_prob - minibatch.old_log_prob
        advantages = self.normalizer(minibatch.advantages)

        objective = self.objective
        policy_loss = -objective.surrogate.value(log_ratio, advantages).mean()
        entropy_loss = bonus_loss = -th.mean(-log_prob if entropy is None else entropy)
        if entropy is None and objective.ent_coef != 0:
            bonus_loss = -objective.surrogate.value(log_ratio, entropy_advantage(minibatch.old_log_prob)).mean()
        loss = policy_loss + objective.ent_coef * bonus_loss
        value_loss = None
        if objective.value_loss is not None:
            value_loss = mean_value_loss(objective.value_loss, values, minibatch)
            loss = loss + objective.vf_coef * value_loss
        mean_kl = None
        if self.settings.needs_minibatch_kl:
            distribution = distribution_after_evaluation(self.policy, minibatch)
            with th.set_grad_enabled(objective.kl_coef > 0):
                mean_kl = old_kl(distribution, minibatch.old_parameters, log_ratio).mean()
            if objective.kl_coef > 0:
                loss = loss + objective.kl_coef * mean_kl
            mean_kl = mean_kl.detach()
        if self._reference:
            distribution = distribution_after_evaluation(self.policy, minibatch)
            row_kl = reference_kl_at(distribution, minibatch.reference_parameters, objective.reference_kl_direction)
            loss = loss + objective.reference_kl_coef * row_kl.mean()
        with th.no_grad():
            ratio = th.exp(log_ratio)
            # k3 as SB3 writes it: (r − 1) − log r by expm1 differs in the last bit.
            approx_kl = th.mean((ratio - 1) - log_ratio)
        known = None if value_loss is None else value_loss.detach()
        detached = policy_loss.detach(), entropy_loss.detach()
        evaluation = AutogradEvaluation(loss, approx_kl, ratio, *detached, known, mean_kl)
        # Without the history, which holds the minibatch's activations.
        self._records.append(evaluation._replace(loss=loss.detach()))
        return evaluation

    def step(self, evaluation: AutogradEvaluation) -> bool:
        self.policy.optimizer.zero_grad()
        evaluation.loss.backward()
        grad_norm = clipped_step(self.policy, evaluation.loss, self.settings.max_grad_norm)
        if grad_norm is None:
            self._records.pop()
            return False
        self._grad_norms.append(grad_norm)
        return True

    def statistics(self) -> UpdateStatistics:
        records = self._records
        has_critic = self.objective.value_loss is not None
        return UpdateStatistics(
            ratio=th.cat([record.ratio for record in records]).cpu().numpy() if records else np.empty(0),
            sizes=np.array([len(record.ratio) for record in records], dtype=np.int64),
            epoch_starts=self._epoch_starts,
            approx_kl=_on_host([record.approx_kl for record in records]),
            policy_loss=_on_host([record.policy_loss for record in records]),
            entropy_loss=_on_host([record.entropy_loss for record in records]),
            value_loss=_on_host([r.value_loss for r in records if r.value_loss is not None]) if has_critic else None,
            loss=_on_host([record.loss for record in records]),
            grad_norms=_on_host(self._grad_norms),
            band=self.objective.surrogate.band,
        )

    def measured_kl(self) -> float:
        if self.old is None:
            return math.nan
        if self.old or draws_as_sb3(self.buffer):
            return mean_old_kl(self.policy, self.old, rows_in_order(self.buffer))
        # A buffer that hides its rows is read as it draws them; the next update's draws stay what they would be.
        generator = np.random.get_state()
        try:
            return mean_old_kl(self.policy, self.old, drawn_rows(self.buffer, CHUNK_SIZE))
        finally:
            np.random.set_state(generator)


def mean_value_loss(value_loss: ValueLoss, values: th.Tensor, minibatch: Rows) -> th.Tensor:
    """
    :param value_loss: The critic's loss
    :param values: V of the rows, shape (B,)
    :param minibatch: B rows
    :return: the mean loss, by SB3's operation, or with memory by sb3-contrib's: their backward passes round differently
    """
    arguments = values, minibatch.old_values, minibatch.returns
    if minibatch.sequences is None:
        return value_loss.mean(*arguments)
    mean: th.Tensor = value_loss.value(*arguments).mean()
    return mean


def clipped_step(policy: ActorCriticPolicy, loss: th.Tensor, max_grad_norm: float | None) -> th.Tensor | None:
    """
    Step the policy's optimiser along its gradients, whose norm is limited as in ``clip_grad_norm_``.

    :param policy: With gradients
    :param loss: What they are the gradients of, a scalar
    :param max_grad_norm: Largest L2 norm of all gradients together; ``None``: unlimited
    :return: the norm before clipping, a scalar; ``None`` if it or the loss is not finite: no step has been taken
    """
    parameters = list(policy.parameters())
    grad_norm = th.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).detach()
    # One transfer for both: a sum is finite only if its terms are.
    if not math.isfinite(float(grad_norm + loss.detach())):
        return None
    if max_grad_norm is not None:
        th.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    policy.optimizer.step()
    return grad_norm


def _on_host(scalars: list[th.Tensor]) -> np.ndarray:
    return th.stack(scalars).cpu().numpy() if scalars else np.empty(0, dtype=np.float32)
