"""The dual-clipped surrogate: a floor under the clipped one where the advantage is negative."""

import math
from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes
from sb3_ppo_variants.objectives.clipped import ClippedSurrogate
from sb3_ppo_variants.objectives.soft_clipped import SoftClippedSurrogate


@dataclass(frozen=True)
class DualClippedSurrogate:
    """
    max(L^CLIP, c·A) for A < 0, and L^CLIP itself for A ≥ 0, with c > 1.

    For A < 0 the clipped surrogate falls without bound as r grows, so one sample with a very large ratio can dominate
    the gradient. With the floor c·A its slope is zero once r > c. Source: Ye et al. 2020, arXiv:1912.09729, equation 5.

    :param clipped: The surrogate that gets the floor
    :param dual_clip: c > 1
    """

    clipped: ClippedSurrogate | SoftClippedSurrogate
    dual_clip: float

    @property
    def band(self) -> tuple[float, float]:
        return self.clipped.band

    def _capped(self, log_ratio: Array, advantage: Array) -> Array:
        # For A < 0 and r ≥ 1 the clipped surrogate is r·A, so the floor c·A is its value at r = c. Capping r gives the
        # same value as max(…, c·A), but exp cannot overflow, which would make the derivative 0·∞.
        xp = namespace_of(log_ratio)
        return xp.where(advantage < 0, xp.clip(log_ratio, None, math.log(self.dual_clip)), log_ratio)

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        return self.clipped.value(self._capped(log_ratio, advantage), advantage)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        slope = self.clipped.slope(self._capped(log_ratio, advantage), advantage)
        floored = (advantage < 0) & (log_ratio > math.log(self.dual_clip))
        return xp.where(floored, xp.zeros_like(slope), slope)
