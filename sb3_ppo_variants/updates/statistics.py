"""What an update tells the logger."""

from typing import NamedTuple

import numpy as np
import torch as th


class StepRecord(NamedTuple):
    """One minibatch's numbers, still on the device. Scalars but for ``ratio``, shape (B,)."""

    ratio: th.Tensor
    approx_kl: th.Tensor
    policy_loss: th.Tensor
    entropy_loss: th.Tensor
    loss: th.Tensor
    value_loss: th.Tensor | None


class UpdateStatistics:
    """
    The statistics of one update, gathered minibatch by minibatch and brought to the host once, at its end.

    SB3's keys keep SB3's meaning: ``policy_gradient_loss``, ``value_loss``, ``entropy_loss``, ``clip_fraction`` are
    means over all minibatches of the update; ``approx_kl`` is the k3 estimate's mean over the minibatches of the last
    (perhaps cut) epoch; ``loss`` is the last minibatch's. Ours:

    - ``grad_norm``: gradient norm before clipping, mean over the steps taken
    - ``ratio_max``: largest r = π/π_old in the last epoch; 1 at the start, and it shows what clipping does not bound
    - ``ess``: effective sample size of the importance weights over the last epoch, (Σr)² / (N·Σr²), in (0, 1]; 1 means
      that the old data are as good as new
    - ``clip_fraction_low``, ``clip_fraction_high``: share of samples with r < 1−ε, and with r > 1+ε, over all
      minibatches
    - ``epochs``: passes over the rollout that were begun; fewer than ``n_epochs`` after an early stop

    :param band: (ε below, ε above), or ``None`` for a surrogate without a band
    """

    def __init__(self, band: tuple[float, float] | None):
        self.band = band
        self.records: list[StepRecord] = []
        self.grad_norms: list[th.Tensor] = []
        self.epoch_starts: list[int] = []

    def begin_epoch(self) -> None:
        """Mark the start of a pass over the rollout."""
        self.epoch_starts.append(len(self.records))

    def summary(self) -> dict[str, float]:
        """
        :return: the numbers by log key, without the ``train/`` before it; empty if there was no minibatch
        """
        if not self.records:
            return {}
        last_epoch = self.records[self.epoch_starts[-1] :]
        ratio = th.cat([record.ratio for record in last_epoch]).double()
        summary = {
            "entropy_loss": _mean([record.entropy_loss for record in self.records]),
            "policy_gradient_loss": _mean([record.policy_loss for record in self.records]),
            # SB3 averages this one in float32, where the others are Python floats.
            "approx_kl": float(np.mean(_on_host([record.approx_kl for record in last_epoch]))),
            "loss": float(self.records[-1].loss),
            "ratio_max": float(ratio.max()),
            "ess": float(ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum())),
            "epochs": len(self.epoch_starts),
        }
        value_losses = [record.value_loss for record in self.records if record.value_loss is not None]
        if value_losses:
            summary["value_loss"] = _mean(value_losses)
        if self.grad_norms:
            summary["grad_norm"] = _mean(self.grad_norms)
        return summary | self._clip_fractions()

    def _clip_fractions(self) -> dict[str, float]:
        if self.band is None:
            return {}
        low, high = self.band
        # r − 1 against ε, not r against 1 ± ε: SB3's comparison, to the last bit.
        excess = th.cat([record.ratio for record in self.records]) - 1
        below, above = _on_host([excess < -low, excess > high])
        sizes = np.array([len(record.ratio) for record in self.records])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

        def share(mask: np.ndarray) -> float:
            counts = np.add.reduceat(mask.astype(np.float32), starts)
            return float(np.mean((counts / sizes.astype(np.float32)).astype(np.float64)))

        return {
            "clip_fraction": share(below | above),
            "clip_fraction_low": share(below),
            "clip_fraction_high": share(above),
        }


def _on_host(tensors: list[th.Tensor]) -> np.ndarray:
    return th.stack(tensors).cpu().numpy()


def _mean(scalars: list[th.Tensor]) -> float:
    return float(np.mean(_on_host(scalars).astype(np.float64)))
