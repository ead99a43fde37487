"""The plain policy gradient's objective."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes


@dataclass(frozen=True)
class LogLikelihood:
    """
    log r · A = (log π(a|s) − log π_old(a|s))·A, whose gradient is A·∇ log π(a|s).

    Subtracting log π_old shifts the value by a constant and does not change the gradient; it makes the objective a
    function of log r, like all surrogates. It is the policy gradient only on data of the current policy, hence for one
    step per rollout. Source: Williams 1992; Schulman et al. 2017, equations 1 and 2.
    """

    band = None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        return log_ratio * advantage

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        return advantage * namespace_of(log_ratio).ones_like(log_ratio)
