"""The clipped surrogate with a slope that turns back outside the band."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class RollbackSurrogate:
    """
    min(r·A, f(r)·A) with f(r) = c − α·(r − c) and c = clip(r, 1−ε, 1+ε).

    Written out, f is −α·r + (1+α)·(1−ε) below the band, r inside it, and −α·r + (1+α)·(1+ε) above it. Where the clipped
    surrogate is flat, the slope is −α·r·A: a ratio that has left the band in the direction that A favours is pulled
    back. α = 0 is the clipped surrogate; α = 1 is, up to a constant, −abs(A)·abs(r − (1 + ε·sign A)), the objective of
    BPO (arXiv:2604.18578). Source: Wang et al. 2019, arXiv:1903.07940, PPO-RB.

    :param clip_range: ε > 0
    :param rollback: α ≥ 0
    """

    clip_range: float
    rollback: float

    @property
    def band(self) -> tuple[float, float]:
        return self.clip_range, self.clip_range

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        ratio = xp.exp(log_ratio)
        clipped = xp.clip(ratio, 1 - self.clip_range, 1 + self.clip_range)
        turned = self.rollback * (ratio - clipped) if self.rollback > 0 else 0.0  # r may overflow, and 0·∞ is not 0
        return xp.minimum(advantage * ratio, advantage * (clipped - turned))

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        ratio = xp.exp(log_ratio)
        unclipped = advantage * ratio
        clipped = advantage * ratio.clip(1 - self.clip_range, 1 + self.clip_range)
        turned = -self.rollback * unclipped if self.rollback > 0 else 0.0  # as above
        return xp.where(unclipped > clipped, turned, unclipped)
