"""KL(old‖new) and entropy from samples, for policies for which they have no closed form here."""

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


def entropy_estimate(log_ratio: Array, log_prob: Array) -> Array:
    """
    −r·log π with r = exp(log_ratio), per sample; its mean over samples of the old policy estimates the entropy of π.

    Unbiased, and so is its gradient. Deviation from SB3, which takes −log π without r: that estimates
    H(old) + KL(old‖new), whose gradient is zero at the old policy and from there on leads away from it.

    :param log_ratio: log π(a|s) − log π_old(a|s) at actions drawn from π_old, shape (B,)
    :param log_prob: log π(a|s) there, shape (B,)
    :return: the estimate in nats, shape (B,)
    """
    return -namespace_of(log_ratio).exp(log_ratio) * log_prob
