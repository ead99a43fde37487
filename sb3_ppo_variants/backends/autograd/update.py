"""The update by automatic differentiation: right for every SB3 policy, and equal to SB3's PPO to the bit."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.autograd.divergence import (
    Divergence,
    EstimatedDivergence,
    as_evaluated,
    distribution_after_evaluation,
    divergence_of,
    mean_divergence,
)
from sb3_ppo_variants.backends.statistics import UpdateStatistics
from sb3_ppo_variants.objectives import Objective
from sb3_ppo_variants.rollouts.minibatches import Minibatch, Samples, minibatches, rows_in_order, select

#: Rows per forward pass where the whole rollout is evaluated without gradients.
CHUNK_SIZE = 2048


class StepRecord(NamedTuple):
    """One minibatch's numbers, still on the device. Scalars but for ``ratio``, shape (B,)."""

    ratio: th.Tensor
    approx_kl: th.Tensor
    policy_loss: th.Tensor
    entropy_loss: th.Tensor
    loss: th.Tensor
    value_loss: th.Tensor | None


class Evaluation:
    """
    An objective evaluated on a minibatch, before its gradient is taken.

    :param loss: −J, a scalar with its autograd history
    :param approx_kl: Schulman's k3 estimate of KL(old‖new), averaged over the minibatch
    """

    def __init__(self, loss: th.Tensor, approx_kl: th.Tensor):
        self.loss = loss
        self.approx_kl = approx_kl

    @property
    def known_loss(self) -> float | None:
        """The loss."""
        return float(self.loss.detach())


class AutogradUpdate:
    """
    One update of a policy from one rollout: evaluate minibatches, step along their gradients.

    The order of operations is SB3's, because floating-point sums depend on it.

    :param policy: The policy, whose optimiser takes the steps
    :param action_space: Its action space
    :param buffer: The full rollout buffer
    :param objective: What is maximised
    :param normalize_advantage: Applied to each minibatch's advantages
    :param max_grad_norm: Largest gradient norm; ``None``: unlimited
    :param keep_old_policy: Note down the old policy for its KL even if the objective has no penalty
    :param kept_rows: The rows of the flattened rollout that count, shape (N,); ``None``: all
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        action_space: spaces.Space,
        buffer: RolloutBuffer,
        objective: Objective,
        normalize_advantage: Callable[[th.Tensor], th.Tensor],
        max_grad_norm: float | None,
        keep_old_policy: bool,
        kept_rows: np.ndarray | None,
    ):
        self.policy = policy
        self.action_space = action_space
        self.buffer = buffer
        self.objective = objective
        self.normalize_advantage = normalize_advantage
        self.max_grad_norm = max_grad_norm
        self.keep_old_policy = keep_old_policy or objective.kl_coef > 0
        self.kept_rows = kept_rows
        self.divergence: Divergence | None = None
        self._records: list[StepRecord] = []
        self._grad_norms: list[th.Tensor] = []
        self._epoch_starts: list[int] = []

    def epoch(self, batch_size: int | None) -> Iterator[Minibatch]:
        """
        :param batch_size: B; ``None``: the whole rollout
        :return: one epoch of minibatches
        """
        self._epoch_starts.append(len(self._records))
        for minibatch in minibatches(self.buffer, batch_size):
            yield minibatch if self.kept_rows is None else self._keep(minibatch)

    def evaluate(self, minibatch: Minibatch) -> Evaluation:
        """
        :param minibatch: B rows
        :return: the loss −J and the approximate KL; their numbers are kept for the statistics
        """
        samples, rows = minibatch
        if self.keep_old_policy and self.divergence is None:
            self.divergence = self._note_old_policy(rows)
        actions = as_evaluated(samples.actions, self.action_space)
        values, log_prob, entropy = self.policy.evaluate_actions(samples.observations, actions)
        log_ratio = log_prob - samples.old_log_prob
        advantages = self.normalize_advantage(samples.advantages)

        objective = self.objective
        policy_loss = -objective.surrogate.value(log_ratio, advantages).mean()
        # Where the entropy has no closed form, −log π of the actions taken estimates it.
        entropy_loss = -th.mean(-log_prob) if entropy is None else -th.mean(entropy)
        loss = policy_loss + objective.ent_coef * entropy_loss
        value_loss = None
        if objective.value_loss is not None:
            value_loss = objective.value_loss.mean(values.flatten(), samples.old_values, samples.returns)
            loss = loss + objective.vf_coef * value_loss
        if objective.kl_coef > 0:
            loss = loss + objective.kl_coef * self._kl(samples, log_ratio, rows).mean()
        return self._record(log_ratio, policy_loss, entropy_loss, value_loss, loss)

    def step(self, evaluation: Evaluation) -> bool:
        """
        Step the optimiser along the gradient of −loss.

        :param evaluation: What ``evaluate`` returned last
        :return: ``False`` if loss or gradient is not finite: no step is taken, the statistics forget the minibatch
        """
        self.policy.optimizer.zero_grad()
        evaluation.loss.backward()
        parameters = list(self.policy.parameters())
        grad_norm = gradient_norm(parameters)
        # One transfer for both: a sum is finite only if its terms are.
        if not math.isfinite(float(grad_norm + evaluation.loss.detach())):
            self._records.pop()
            return False
        self._grad_norms.append(grad_norm)
        if self.max_grad_norm is not None:
            th.nn.utils.clip_grads_with_norm_(parameters, self.max_grad_norm, grad_norm)
        self.policy.optimizer.step()
        return True

    def statistics(self) -> UpdateStatistics:
        """
        :return: the update's numbers, brought to the host in a few transfers
        """
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

    def _keep(self, minibatch: Minibatch) -> Minibatch:
        samples, rows = minibatch
        if rows is None or self.kept_rows is None:
            raise ValueError(
                f"{type(self.buffer).__name__} does not draw its minibatches through _get_samples, so unfinished "
                "episodes cannot be left out: pass baseline=True, or another rollout_buffer_class."
            )
        keep = self.kept_rows[rows]
        return Minibatch(select(samples, th.as_tensor(keep, device=samples.advantages.device)), rows[keep])

    def measured_kl(self) -> float:
        """
        :return: mean KL(old‖new) over the whole rollout, in nats; NaN if the old policy was not kept
        """
        if self.divergence is None:
            return math.nan
        if self.divergence.exact:
            rollout: Iterator[Samples] = rows_in_order(self.buffer, CHUNK_SIZE)
        else:
            rollout = self.buffer.get(CHUNK_SIZE)
        return mean_divergence(self.policy, self.divergence, rollout, self.action_space)

    def _note_old_policy(self, rows: np.ndarray | None) -> Divergence:
        # Without row numbers a minibatch's old parameters cannot be found again.
        if rows is None:
            return EstimatedDivergence()
        return divergence_of(self.policy, rows_in_order(self.buffer, CHUNK_SIZE))

    def _kl(self, samples: Samples, log_ratio: th.Tensor, rows: np.ndarray | None) -> th.Tensor:
        divergence = self.divergence
        if divergence is None or (rows is None and divergence.exact):
            raise RuntimeError("The old policy's KL was asked for without the old policy, or without its rows.")
        distribution = distribution_after_evaluation(self.policy, samples.observations)
        return divergence.per_row(distribution, log_ratio, slice(None) if rows is None else rows)

    def _record(
        self,
        log_ratio: th.Tensor,
        policy_loss: th.Tensor,
        entropy_loss: th.Tensor,
        value_loss: th.Tensor | None,
        loss: th.Tensor,
    ) -> Evaluation:
        with th.no_grad():
            ratio = th.exp(log_ratio)
            # k3 as SB3 writes it: (r − 1) − log r by expm1 differs in the last bit.
            approx_kl = th.mean((ratio - 1) - log_ratio)
        self._records.append(
            StepRecord(
                ratio,
                approx_kl,
                policy_loss.detach(),
                entropy_loss.detach(),
                loss.detach(),
                None if value_loss is None else value_loss.detach(),
            )
        )
        return Evaluation(loss, approx_kl)


def gradient_norm(parameters: Iterable[th.nn.Parameter]) -> th.Tensor:
    """
    :param parameters: With their gradients
    :return: the L2 norm of all gradients together, a scalar, computed as ``clip_grad_norm_`` does
    """
    return th.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).detach()


def _on_host(scalars: list[th.Tensor]) -> np.ndarray:
    return th.stack(scalars).cpu().numpy() if scalars else np.empty(0, dtype=np.float32)
