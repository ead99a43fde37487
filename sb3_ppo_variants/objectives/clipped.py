"""The clipped surrogate: PPO's pessimistic bound."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class ClippedSurrogate:
    """
    L^CLIP = min(r·A, clip(r, 1−ε, 1+ε)·A) with r = exp(log_ratio).

    The smaller of the two numbers for either sign of A, hence a lower bound of r·A. It is flat where r has left the
    band *in the direction that A favours*: r > 1+ε for A > 0, r < 1−ε for A < 0. On the other side the slope is r·A,
    which pulls back a ratio that moved the wrong way. The flat part removes the incentive to move further; it does not
    bound r, which the gradients of other samples still move.

    Source: Schulman et al. 2017, equation 7. With ``clip_range_high`` the band is [1−ε, 1+ε_high] (the asymmetric
    "clip-higher" of Yu et al. 2025, arXiv:2503.14476).

    :param clip_range: ε > 0
    :param clip_range_high: ε above 1; ``None`` means ε on both sides
    """

    clip_range: float
    clip_range_high: float | None = None

    @property
    def band(self) -> tuple[float, float]:
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        return self.clip_range, high

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        low, high = self.band
        ratio = xp.exp(log_ratio)
        return xp.minimum(advantage * ratio, advantage * xp.clip(ratio, 1 - low, 1 + high))

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        low, high = self.band
        ratio = xp.exp(log_ratio)
        unclipped = advantage * ratio
        # The clipped branch is flat where it is the smaller one. On the edge both are equal, and the slope is r·A.
        clipped = advantage * ratio.clip(1 - low, 1 + high)
        return xp.where(unclipped > clipped, 0.0, unclipped)
