"""Value losses: how far the critic is from its target, in three forms."""

from dataclasses import dataclass
from typing import Protocol

import torch as th
from torch.nn import functional

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


class ValueLoss(Protocol):
    """
    A loss per sample as a function of V(s), V_old(s) and the target R (here the TD(λ) return).

    It is minimised, weighted by c₁ = ``vf_coef``. There is no factor ½ (SB3's convention; Baselines' ppo2 and
    CleanRL halve it).
    """

    def value(self, values: Array, old_values: Array, returns: Array) -> Array:
        """
        :param values: V(s) now, shape (B,)
        :param old_values: V(s) at collection time, shape (B,)
        :param returns: the target R, shape (B,)
        :return: the loss per sample, shape (B,)
        """

    def slope(self, values: Array, old_values: Array, returns: Array) -> Array:
        """
        :param values: as in ``value``
        :param old_values: as in ``value``
        :param returns: as in ``value``
        :return: ∂ value / ∂ values, shape (B,)
        """

    def mean(self, values: th.Tensor, old_values: th.Tensor, returns: th.Tensor) -> th.Tensor:
        """
        :param values: as in ``value``
        :param old_values: as in ``value``
        :param returns: as in ``value``
        :return: the mean over samples, a scalar
        """


@dataclass(frozen=True)
class SquaredError:
    """(V − R)². Source: Schulman et al. 2017, equation 9."""

    def value(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, returns=returns)
        return (values - returns) ** 2

    def slope(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, returns=returns)
        return 2 * (values - returns)

    def mean(self, values: th.Tensor, old_values: th.Tensor, returns: th.Tensor) -> th.Tensor:
        require_equal_shapes(values=values, returns=returns)
        # SB3's own operation: the backward pass of value().mean() rounds differently.
        return functional.mse_loss(returns, values)


@dataclass(frozen=True)
class ClippedSquaredError:
    """
    (V_clip − R)² with V_clip = V_old + clip(V − V_old, −c, c): SB3's form, without a maximum.

    Its slope is zero outside the band on *both* sides, so nothing moves a value back that has left it, and it is not a
    bound of the plain loss. A suitable c depends on the scale of the rewards.

    :param clip_range_vf: c > 0
    """

    clip_range_vf: float

    def clipped(self, values: Array, old_values: Array) -> Array:
        """
        :param values: V(s) now, shape (B,)
        :param old_values: V(s) at collection time, shape (B,)
        :return: V_clip, shape (B,)
        """
        c = self.clip_range_vf
        return old_values + namespace_of(values).clip(values - old_values, -c, c)

    def value(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, old_values=old_values, returns=returns)
        return (self.clipped(values, old_values) - returns) ** 2

    def slope(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, old_values=old_values, returns=returns)
        xp = namespace_of(values)
        slope = 2 * (self.clipped(values, old_values) - returns)
        inside = xp.abs(values - old_values) <= self.clip_range_vf
        return xp.where(inside, slope, xp.zeros_like(slope))

    def mean(self, values: th.Tensor, old_values: th.Tensor, returns: th.Tensor) -> th.Tensor:
        require_equal_shapes(values=values, old_values=old_values, returns=returns)
        # SB3's own operation, as in SquaredError.
        return functional.mse_loss(returns, self.clipped(values, old_values))


@dataclass(frozen=True)
class MaxSquaredError(ClippedSquaredError):
    """
    max((V − R)², (V_clip − R)²): the form of OpenAI Baselines' ppo2 and CleanRL, an upper bound of the plain loss.

    :param clip_range_vf: c > 0
    """

    def value(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, old_values=old_values, returns=returns)
        plain = (values - returns) ** 2
        return namespace_of(values).maximum(plain, super().value(values, old_values, returns))

    def slope(self, values: Array, old_values: Array, returns: Array) -> Array:
        require_equal_shapes(values=values, old_values=old_values, returns=returns)
        plain = (values - returns) ** 2
        clipped = super().value(values, old_values, returns)
        # Equal branches count as plain: inside the band they are the same function.
        return namespace_of(values).where(
            plain >= clipped, 2 * (values - returns), super().slope(values, old_values, returns)
        )

    def mean(self, values: th.Tensor, old_values: th.Tensor, returns: th.Tensor) -> th.Tensor:
        return self.value(values, old_values, returns).mean()
