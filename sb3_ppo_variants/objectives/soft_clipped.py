"""The clipped surrogate with a slope that fades out instead of ending at once."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes
from sb3_ppo_variants.objectives.clipped import ClippedSurrogate


@dataclass(frozen=True)
class SoftClippedSurrogate:
    """
    min(r·A, g(r)·A) with g(r) = c + e − e·abs(e)/(2δ), c = clip(r, 1−ε, 1+ε) and e = clip(r − c, −δ, δ).

    Where the clipped surrogate is flat, the derivative with respect to r falls from A at the edge of the band to 0 at a
    distance of δ from it, linearly, and is 0 beyond. For δ → 0 it is the clipped surrogate; with δ > 0 it is still a
    lower bound of r·A. Source: no paper; the corner of Schulman et al. 2017, equation 7, is replaced by a parabola.

    :param clipped: The surrogate whose corner is rounded off
    :param clip_softness: δ > 0
    """

    clipped: ClippedSurrogate
    clip_softness: float

    @property
    def band(self) -> tuple[float, float]:
        return self.clipped.band

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        low, high = self.band
        ratio = xp.exp(log_ratio)
        clipped = xp.clip(ratio, 1 - low, 1 + high)
        excess = xp.clip(ratio - clipped, -self.clip_softness, self.clip_softness)
        softened = clipped + excess - excess * abs(excess) / (2 * self.clip_softness)
        return xp.minimum(advantage * ratio, advantage * softened)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        low, high = self.band
        ratio = xp.exp(log_ratio)
        # How far r has left the band in the direction that A favours.
        beyond = xp.where(advantage > 0, ratio - (1 + high), (1 - low) - ratio)
        share = 1 - xp.clip(beyond / self.clip_softness, 0, 1)
        # Where nothing is left of the slope, r may have overflowed, and ∞·0 is not 0.
        return advantage * xp.where(share > 0, ratio, 0.0) * share
