"""The surrogate of Simple Policy Optimization: a quadratic penalty on the ratio in place of the clip."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class SPOSurrogate:
    """
    r·A − abs(A)·(r − 1)²/(2ε) with r = exp(log_ratio).

    As a function of r it is a parabola whose maximum, its only stationary point, is r = 1 + ε·sign A: the ratio at
    which the clipped surrogate turns flat. Beyond it the slope (d/dlog r) changes sign and pulls the ratio back:
    above 1 + ε, the further away, the harder; below 1 − ε, the pull is greatest at r = (1 − ε)/2, and fades to 0
    with r. Source: Xie et al. 2024, arXiv:2401.16025.

    :param clip_range: ε > 0
    """

    clip_range: float

    @property
    def band(self) -> tuple[float, float]:
        return self.clip_range, self.clip_range

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        ratio = namespace_of(log_ratio).exp(log_ratio)
        return ratio * advantage - abs(advantage) * (ratio - 1) ** 2 / (2 * self.clip_range)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        ratio = namespace_of(log_ratio).exp(log_ratio)
        return ratio * (advantage - abs(advantage) * (ratio - 1) / self.clip_range)
