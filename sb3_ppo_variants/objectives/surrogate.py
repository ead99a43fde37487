"""What every surrogate promises."""

from typing import Protocol

from sb3_ppo_variants.arrays import Array


class Surrogate(Protocol):
    """
    A policy objective per sample, as a function of log r = log π(a|s) − log π_old(a|s) and the advantage A.

    It is maximised. ``value`` and ``slope`` are two independent statements of the same function: automatic
    differentiation uses the first, the closed form the second, and a test holds them together.
    """

    @property
    def band(self) -> tuple[float, float] | None:
        """(ε below, ε above) of the ratio band [1−ε, 1+ε] beyond which the clip fraction counts; ``None``: no band."""

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
