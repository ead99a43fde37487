"""The interface of every surrogate."""

from typing import Protocol

from sb3_ppo_variants.arrays import Array


class Surrogate(Protocol):
    """
    A policy objective per sample, as a function of log r = log π(a|s) − log π_old(a|s) and the advantage A.

    It is maximised. ``value`` and ``slope`` are written independently: automatic differentiation uses the first, the
    closed form the second, and :func:`check_surrogate` compares them.
    """

    @property
    def band(self) -> tuple[float, float] | None:
        """(ε below 1, ε above 1): ratios outside this band count as clipped in the log; ``None``: there is no band."""

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        """
        :param log_ratio: log π(a|s) − log π_old(a|s), shape (B,)
        :param advantage: A(s, a), shape (B,)
        :return: the objective per sample, shape (B,)
        """

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        """
        :param log_ratio: as in ``value``
        :param advantage: as in ``value``
        :return: ∂ value / ∂ log_ratio, shape (B,)
        """
