"""KL(old‖new) from samples, for policies whose KL has no closed form here."""

from sb3_ppo_variants.arrays import Array, namespace_of


def k3_estimate(log_ratio: Array) -> Array:
    """
    (r − 1) − log r with r = exp(log_ratio), per sample; its mean over samples of the old policy estimates KL(old‖new).

    Unbiased and never negative. Its gradient is an unbiased estimate of the gradient of the KL, because E_old[r] = 1.
    Source: Schulman 2020, "Approximating KL Divergence", estimator k3.

    :param log_ratio: log π(a|s) − log π_old(a|s) at actions drawn from π_old, shape (B,)
    :return: the estimate in nats, shape (B,)
    """
    return namespace_of(log_ratio).expm1(log_ratio) - log_ratio
