"""KL(old‖new) and the gradient of the entropy from samples, for policies that have neither in closed form here."""

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


def entropy_advantage(old_log_prob: Array) -> Array:
    """
    b − log π_old per sample, with b the mean of log π_old: what an action of the old policy adds to its entropy.

    In a surrogate in place of the advantage, its gradient at the old policy is an unbiased estimate of that of the
    entropy, ∇H = −E[log π·∇log π], with b as baseline, and the surrogate restrains it like any other advantage.
    Deviation from SB3, which subtracts the mean of log π: that has no gradient at the old policy on average, and from
    there on leads away from it, as it estimates −H(old) − KL(old‖new).

    :param old_log_prob: log π_old(a|s) of the actions taken, shape (B,)
    :return: shape (B,), in nats
    """
    return old_log_prob.mean() - old_log_prob
