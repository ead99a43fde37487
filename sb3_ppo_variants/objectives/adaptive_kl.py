"""The rule by which an adaptive KL coefficient follows the measured KL."""

#: The coefficient stays within these bounds. The paper has none; repeated halving would end at zero, which doubling
#: does not leave.
LOWEST_KL_COEF, HIGHEST_KL_COEF = 1e-10, 1e10


def adapt_kl_coef(kl_coef: float, kl: float, target: float, tolerance: float = 1.5, factor: float = 2.0) -> float:
    """
    The coefficient for the next update: β/factor if kl < target/tolerance, β·factor if kl > target·tolerance, else β.

    Called once per update, with the exact mean KL(old‖new) over the rollout. Source: Schulman et al. 2017, section 4
    (1.5 and 2 are the paper's values, to which it says the algorithm is "not very sensitive"). Deviations: the result
    stays within [1e-10, 1e10], and a KL that is NaN leaves β unchanged.

    :param kl_coef: β of the update that produced ``kl``
    :param kl: Measured mean KL(old‖new) in nats
    :param target: d_targ in nats, > 0
    :param tolerance: ≥ 1; the factor by which the KL may differ from the target before β changes
    :param factor: > 1; the factor by which β changes
    :return: β for the next update
    """
    if kl < target / tolerance:
        kl_coef /= factor
    elif kl > target * tolerance:
        kl_coef *= factor
    return min(max(kl_coef, LOWEST_KL_COEF), HIGHEST_KL_COEF)
