"""The importance-sampled surrogate, without any restraint."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class UnclippedSurrogate:
    """
    L^CPI = r·A with r = exp(log_ratio) = π(a|s) / π_old(a|s).

    Its mean over samples of the old policy is an unbiased estimate of the new policy's mean advantage (in the states
    that the old policy visits), but its variance grows without bound as the two policies move apart. Source:
    Schulman et al. 2017, equation 6 (after Kakade & Langford 2002).
    """

    band = None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        return advantage * namespace_of(log_ratio).exp(log_ratio)

    # d exp(x)/dx = exp(x)
    slope = value
