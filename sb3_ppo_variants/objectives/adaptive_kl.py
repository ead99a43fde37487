"""The rule by which an adaptive KL coefficient follows the measured KL."""

#: The coefficient stays within these. The paper sets no bounds; halving for ever would reach zero, where doubling no
#: longer brings it back.
LOWEST_KL_COEF, HIGHEST_KL_COEF = 1e-10, 1e10


def adapt_kl_coef(kl_coef: float, kl: float, target: float, tolerance: float = 1.5, factor: float = 2.0) -> float:
    """
    The coefficient for the next update: β/factor if kl < target/tolerance, β·factor if kl > target·tolerance, else β.

    Once per update, from the exact mean KL(old‖new) over the rollout. Source: Schulman et al. 2017, section 4 (1.5 and
    2 are theirs, and "not very sensitive"). Deviations: the result stays within [1e-10, 1e10], and a KL that is not a
    number leaves β as it is.

    :param kl_coef: β of the update that produced ``kl``
    :param kl: Measured mean KL(old‖new) in nats
    :param target: d_targ in nats, > 0
    :param tolerance: ≥ 1; how far the KL may be from the target before β moves
    :param factor: > 1; by how much β moves
    :return: β for the next update
    """
    if kl < target / tolerance:
        kl_coef /= factor
    elif kl > target * tolerance:
        kl_coef *= factor
    return min(max(kl_coef, LOWEST_KL_COEF), HIGHEST_KL_COEF)
