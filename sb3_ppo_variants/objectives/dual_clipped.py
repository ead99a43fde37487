"""The dual-clipped surrogate: a floor under the clipped one where the advantage is negative."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.objectives.clipped import ClippedSurrogate


@dataclass(frozen=True)
class DualClippedSurrogate:
    """
    max(L^CLIP, c·A) for A < 0, and L^CLIP itself for A ≥ 0, with c > 1.

    For A < 0 the clipped surrogate falls without bound as r grows, so one sample whose ratio ran away can own the
    gradient. The floor c·A switches that sample off once r > c. Source: Ye et al. 2020, arXiv:1912.09729, equation 5.

    :param clipped: The surrogate below which the floor is put
    :param dual_clip: c > 1
    """

    clipped: ClippedSurrogate
    dual_clip: float

    @property
    def band(self) -> tuple[float, float]:
        return self.clipped.band

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        xp = namespace_of(log_ratio)
        clipped = self.clipped.value(log_ratio, advantage)
        return xp.where(advantage < 0, xp.maximum(clipped, self.dual_clip * advantage), clipped)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        xp = namespace_of(log_ratio)
        slope = self.clipped.slope(log_ratio, advantage)
        floored = (advantage < 0) & (self.clipped.value(log_ratio, advantage) < self.dual_clip * advantage)
        return xp.where(floored, xp.zeros_like(slope), slope)
