"""The surrogate of Discovered Policy Optimisation: r·A minus a drift modelled on one that meta-learning found."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class DiscoveredSurrogate:
    """
    r·A − relu(u − α·tanh(u/α)) with u = (r − 1)·A for A ≥ 0, and
    r·A − relu(v − β·tanh(v/β)) with v = A·log r for A < 0.

    For A ≥ 0 and r > 1 this is A + α·tanh(u/α), and is computed as such: the difference of two large numbers has no
    digits left, or is NaN.
    The drift is 0 where the ratio has moved against the advantage, and near r = 1 it is of third order. For A ≥ 0 the
    value stays below A + α. For A < 0 the slope A·(r − tanh²(v/β)) changes sign at some r < 1, below which the
    ratio is pulled back up. Unlike a clip, the drift depends on the size of A, and hence on how advantages are
    normalised. Source: Lu et al. 2022, arXiv:2210.05639, which has α = 2 and β = 0.6.

    :param drift_alpha: α > 0
    :param drift_beta: β > 0
    """

    drift_alpha: float
    drift_beta: float

    band = None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        ratio = xp.exp(log_ratio)
        up, down = (ratio - 1) * advantage, log_ratio * advantage
        rising = advantage + self.drift_alpha * xp.tanh(up / self.drift_alpha)
        falling = ratio * advantage - (down - self.drift_beta * xp.tanh(down / self.drift_beta))
        drifting = log_ratio * advantage > 0
        return xp.where(drifting, xp.where(advantage < 0, falling, rising), ratio * advantage)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        xp = namespace_of(log_ratio)
        ratio = xp.exp(log_ratio)
        unclipped = ratio * advantage
        # d/dx (x − a·tanh(x/a)) = tanh²(x/a), and du/dlog r = r·A, dv/dlog r = A.
        share = 1 - xp.tanh((ratio - 1) * advantage / self.drift_alpha) ** 2
        # Where nothing is left of the slope, r may have overflowed, and ∞·0 is not 0.
        rising = xp.where(share > 0, unclipped, 0.0) * share
        falling = unclipped - advantage * xp.tanh(log_ratio * advantage / self.drift_beta) ** 2
        drifting = log_ratio * advantage > 0
        return xp.where(drifting, xp.where(advantage < 0, falling, rising), unclipped)
