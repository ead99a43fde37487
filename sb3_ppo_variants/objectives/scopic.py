"""The scopic surrogate: the ratio passes through a sigmoid."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class ScopicSurrogate:
    """
    (1 + (4/τ)·(σ(τ·(r − 1)) − ½))·A with σ the logistic sigmoid and r = exp(log_ratio).

    Its slope is r·A·4σ(1−σ): that of r·A times a factor that is 1 at r = 1 and fades on both sides, never zero or of
    the opposite sign.
    Unlike the clip it does not pull back at full strength a ratio that has moved against the advantage. Source: Chen et
    al. 2022, arXiv:2205.10047, which has τ = 4. Deviation: theirs is (4/τ)·σ(τ·(r − 1))·A; the constant
    (1 − 2/τ)·A is added here, which changes no gradient and makes the value at r = 1 the advantage, as in all
    surrogates.

    :param temperature: τ > 0
    """

    temperature: float

    band = None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        # σ(x) − ½ = tanh(x/2)/2, which numpy and torch both have, and which does not overflow.
        squashed = xp.tanh(self.temperature * (xp.exp(log_ratio) - 1) / 2)
        return advantage * (1 + 2 / self.temperature * squashed)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        ratio = xp.exp(log_ratio)
        # 4σ(x)·(1 − σ(x)) without a difference of nearly equal numbers.
        tail = xp.exp(-abs(self.temperature * (ratio - 1)))
        # Where nothing is left of the slope, r may have overflowed, and ∞·0 is not 0.
        return advantage * xp.where(tail > 0, ratio, 0.0) * 4 * tail / (1 + tail) ** 2
