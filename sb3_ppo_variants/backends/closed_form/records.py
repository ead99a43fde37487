"""What the closed form keeps of its minibatches for the statistics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sb3_ppo_variants.backends.statistics import UpdateStatistics, segment_sums
from sb3_ppo_variants.distributions import Head, Parameters, reference_kl
from sb3_ppo_variants.objectives import Objective
from sb3_ppo_variants.rollouts import Rows

#: How many rows wait before they are reduced to a mean for each minibatch. An update of SB3's size is reduced once, at
#: its end; a larger one does not pile up every row of every epoch.
WAITING_ROWS = 1 << 15

_REDUCED = ("ratio", "approx_kl", "policy_loss", "entropy_loss", "value_loss", "kl", "reference_kl")


class Records:
    """
    The numbers of an update's minibatches. They need no gradient, so rows wait and are computed on many at a time.

    :param objective: What is maximised
    :param head: The distributions' family
    """

    def __init__(self, objective: Objective, head: Head):
        self.objective = objective
        self.head = head
        self._sizes: list[int] = []
        self._n_waiting = 0
        self._waiting_sizes: list[int] = []
        self._waiting: dict[str, list[np.ndarray]] = {
            name: [] for name in ("log_ratio", "advantages", "entropy", "values", "old_values", "returns", "kl")
        }
        self._waiting_parameters: list[tuple[Parameters, Parameters]] = []
        self._reduced: list[dict[str, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self._sizes)

    def keep(
        self,
        batch: Rows,
        log_ratio: np.ndarray,
        entropy: np.ndarray,
        values: np.ndarray | None,
        kl: np.ndarray | None,
        parameters: Parameters,
    ) -> None:
        """
        Keep the numbers of a minibatch; the arrays, except for ``parameters``, must not change afterwards.

        :param batch: B rows
        :param log_ratio: log π − log π_old, shape (B,)
        :param entropy: shape (B,)
        :param values: V, shape (B,); ``None`` where no critic is trained
        :param kl: KL(old‖new), shape (B,); ``None`` without a penalty
        :param parameters: The policy's distributions, used where it is kept near a reference
        """
        # Here, not after the minibatch is added: the last one may have to be forgotten.
        if self._n_waiting >= WAITING_ROWS:
            self._reduce()
        self._sizes.append(len(batch))
        self._waiting_sizes.append(len(batch))
        self._n_waiting += len(batch)
        waiting = self._waiting
        waiting["log_ratio"].append(log_ratio)
        waiting["advantages"].append(batch.advantages)
        waiting["entropy"].append(entropy)
        if values is not None:
            waiting["values"].append(values)
            waiting["old_values"].append(batch.old_values)
            waiting["returns"].append(batch.returns)
        if kl is not None:
            waiting["kl"].append(kl)
        if batch.reference_parameters:
            copies = tuple(part.copy() for part in parameters)
            self._waiting_parameters.append((batch.reference_parameters, copies))

    def forget_last(self) -> None:
        """Drop the minibatch that was kept last."""
        self._sizes.pop()
        self._n_waiting -= self._waiting_sizes.pop()
        for parts in self._all_waiting():
            if parts:
                parts.pop()

    def statistics(self, epoch_starts: list[int], grad_norms: list[float]) -> UpdateStatistics:
        """
        :param epoch_starts: number of the minibatch with which each epoch begins
        :param grad_norms: one per step taken
        :return: the update's numbers
        """
        self._reduce()
        objective = self.objective
        kept = {name: [part[name] for part in self._reduced if name in part] for name in _REDUCED}
        means = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in kept.items()}
        loss = means["policy_loss"] + objective.ent_coef * means["entropy_loss"]
        if objective.value_loss is not None:
            loss = loss + objective.vf_coef * means["value_loss"]
        if objective.kl_coef > 0:
            loss = loss + objective.kl_coef * means["kl"]
        if len(means["reference_kl"]) > 0:
            loss = loss + objective.reference_kl_coef * means["reference_kl"]
        return UpdateStatistics(
            ratio=means["ratio"],
            sizes=np.array(self._sizes, dtype=np.int64),
            epoch_starts=epoch_starts,
            approx_kl=means["approx_kl"],
            policy_loss=means["policy_loss"],
            entropy_loss=means["entropy_loss"],
            value_loss=None if objective.value_loss is None else means["value_loss"],
            loss=loss,
            grad_norms=np.array(grad_norms),
            band=objective.surrogate.band,
        )

    def _reduce(self) -> None:
        """From waiting rows to a mean for each minibatch, and the ratio of each row."""
        if not self._waiting_sizes:
            return
        objective = self.objective
        sizes = np.array(self._waiting_sizes, dtype=np.int64)
        rows = {name: np.concatenate(parts) for name, parts in self._waiting.items() if parts}
        log_ratio = rows["log_ratio"]
        ratio = np.exp(log_ratio)

        def means(values: np.ndarray) -> np.ndarray:
            return segment_sums(values, sizes) / sizes

        reduced = {
            "ratio": ratio,
            "approx_kl": means(ratio - 1 - log_ratio),
            "policy_loss": -means(objective.surrogate.value(log_ratio, rows["advantages"])),
            "entropy_loss": -means(rows["entropy"]),
        }
        if objective.value_loss is not None:
            losses = objective.value_loss.value(rows["values"], rows["old_values"], rows["returns"])
            reduced["value_loss"] = means(losses)
        if objective.kl_coef > 0:
            reduced["kl"] = means(rows["kl"])
        if self._waiting_parameters:
            reference, new = (_joined(parts, sizes) for parts in zip(*self._waiting_parameters, strict=True))
            reduced["reference_kl"] = means(reference_kl(self.head, reference, new, objective.reference_kl_direction))
        self._reduced.append(reduced)
        self._n_waiting = 0
        self._waiting_sizes.clear()
        for parts in self._all_waiting():
            parts.clear()

    def _all_waiting(self) -> list[list[Any]]:
        return [*self._waiting.values(), self._waiting_parameters]


def _joined(minibatches: Sequence[Parameters], sizes: np.ndarray) -> Parameters:
    """The parameters of all rows; those that a minibatch has once for all its rows are repeated."""
    return tuple(
        np.repeat(np.stack(parts), sizes, axis=0) if parts[0].ndim == 1 else np.concatenate(parts)
        for parts in zip(*minibatches, strict=True)
    )
