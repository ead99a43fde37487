"""What an update tells the logger."""

from dataclasses import dataclass

import numpy as np


@dataclass
class UpdateStatistics:
    """
    The statistics of one update, on the host: M minibatches, R rows in all of them together.

    SB3's keys keep SB3's meaning: ``policy_gradient_loss``, ``value_loss``, ``entropy_loss``, ``clip_fraction`` are
    means over all minibatches of the update; ``approx_kl`` is the k3 estimate's mean over the minibatches of the last
    (perhaps cut) epoch; ``loss`` is the last minibatch's. Ours:

    - ``grad_norm``: gradient norm before clipping, mean over the steps taken
    - ``ratio_max``: largest r = π/π_old in the last epoch; 1 at the start, and it shows what clipping does not bound
    - ``ess``: effective sample size of the importance weights over the last epoch, (Σr)² / (N·Σr²), in (0, 1]; 1 means
      that the old data are as good as new; NaN where an r has overflowed or all have underflowed
    - ``clip_fraction_low``, ``clip_fraction_high``: share of samples with r < 1−ε, and with r > 1+ε, mean over all
      minibatches as ``clip_fraction``
    - ``epochs``: passes over the rollout that were begun; fewer than ``n_epochs`` after an early stop

    :param ratio: r of every row of every minibatch, shape (R,)
    :param sizes: rows of each minibatch, shape (M,)
    :param epoch_starts: number of the minibatch with which each epoch begins
    :param approx_kl: shape (M,)
    :param policy_loss: shape (M,)
    :param entropy_loss: shape (M,)
    :param value_loss: shape (M,); ``None`` where no critic is trained
    :param loss: shape (M,)
    :param grad_norms: one per step taken
    :param band: (ε below, ε above), or ``None`` for a surrogate without a band
    """

    ratio: np.ndarray
    sizes: np.ndarray
    epoch_starts: list[int]
    approx_kl: np.ndarray
    policy_loss: np.ndarray
    entropy_loss: np.ndarray
    value_loss: np.ndarray | None
    loss: np.ndarray
    grad_norms: np.ndarray
    band: tuple[float, float] | None

    def summary(self) -> dict[str, float]:
        """
        :return: the numbers by log key, without the ``train/`` before it; empty if there was no minibatch
        """
        if len(self.sizes) == 0:
            return {}
        # The last epoch that kept a minibatch: those that are not finite are left out.
        first = max(start for start in self.epoch_starts if start < len(self.sizes))
        ratio = self.ratio[int(self.sizes[:first].sum()) :].astype(np.float64)
        summary = {
            "entropy_loss": _mean(self.entropy_loss),
            "policy_gradient_loss": _mean(self.policy_loss),
            # SB3 averages this one in float32, the others as Python floats.
            "approx_kl": float(np.mean(self.approx_kl[first:])),
            "loss": float(self.loss[-1]),
            "ratio_max": float(ratio.max()),
            "ess": effective_sample_size(ratio),
            "epochs": len(self.epoch_starts),
        }
        if self.value_loss is not None:
            summary["value_loss"] = _mean(self.value_loss)
        if len(self.grad_norms) > 0:
            summary["grad_norm"] = _mean(self.grad_norms)
        return summary | self._clip_fractions()

    def _clip_fractions(self) -> dict[str, float]:
        if self.band is None:
            return {}
        low, high = (np.asarray(limit, self.ratio.dtype) for limit in self.band)
        # r − 1 against ε, not r against 1 ± ε: SB3's comparison, bit for bit.
        excess = self.ratio - 1
        below, above = excess < -low, excess > high
        return {
            "clip_fraction": self._share(below | above),
            "clip_fraction_low": self._share(below),
            "clip_fraction_high": self._share(above),
        }

    def _share(self, mask: np.ndarray) -> float:
        counts = segment_sums(mask.astype(np.float32), self.sizes)
        return _mean(counts / self.sizes.astype(np.float32))


def effective_sample_size(ratio: np.ndarray) -> float:
    """
    :param ratio: r of N rows, in float64
    :return: (Σr)² / (N·Σr²), in (0, 1]; NaN where an r has overflowed or all have underflowed
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return float(ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum()))


def segment_sums(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """
    :param values: M runs one after the other, shape (R,)
    :param sizes: their lengths, each > 0, shape (M,)
    :return: the sum of each run, shape (M,)
    """
    return np.add.reduceat(values, np.cumsum(sizes) - sizes)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values.astype(np.float64)))
