"""The rules by which a KL coefficient, or the learning rate, follows the measured KL."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from sb3_ppo_variants.checks import choice, number, optional

AdaptEvery = Literal["update", "minibatch"]

#: The coefficient stays within these bounds. The paper has none; repeated halving would end at zero, which doubling
#: cannot leave.
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


def adapt_learning_rate(
    rate: float,
    kl: float,
    target: float,
    tolerance: float = 2.0,
    factor: float = 1.5,
    low: float = 1e-5,
    high: float = 1e-2,
) -> float:
    """
    The next learning rate: η/factor if kl > target·tolerance, η·factor if 0 < kl < target/tolerance, else η.

    A KL of 0 does not raise the rate: nothing has moved yet, or no step was taken. A KL that is NaN leaves η unchanged.
    Source: rsl_rl's ``schedule="adaptive"``, whose values are the defaults (arXiv:2109.11978 describes it).

    :param rate: η of the steps that produced ``kl``
    :param kl: Measured mean KL(old‖new) in nats
    :param target: In nats, > 0
    :param tolerance: ≥ 1; the factor by which the KL may differ from the target before η changes
    :param factor: > 1; the factor by which η changes
    :param low: The smallest η
    :param high: The largest η
    :return: η of the next steps, within [low, high]
    """
    if kl > target * tolerance:
        rate /= factor
    elif 0 < kl < target / tolerance:
        rate *= factor
    return min(max(rate, low), high)


@dataclass(frozen=True)
class KLAdaptiveRate:
    """
    A ``learning_rate`` that follows the KL between the policy before and after its steps (``adapt_learning_rate``).

    The KL is exact, as in ``train/kl``. The object never changes: the model replaces its ``learning_rate`` by one with
    the next rate, and saves that.

    :param target: The KL(old‖new) to stay near, in nats, > 0; rsl_rl uses 0.01, skrl 0.008
    :param tolerance: ≥ 1; the rate changes once the KL is off the target by more than this factor
    :param factor: > 1; the factor by which the rate then changes
    :param low: The smallest rate, > 0
    :param high: The largest rate, at most 1
    :param initial: The rate of the first update, in [low, high]
    :param every: ``"update"``: from the KL over the whole rollout, after each update; ``"minibatch"``: before each step
        but an update's first, from the KL over that step's minibatch
    :param rate: The rate now in force; ``None``: ``initial``
    :raises TypeError: an argument is not a number
    :raises ValueError: an argument is out of its range
    """

    target: float
    tolerance: float = 2.0
    factor: float = 1.5
    low: float = 1e-5
    high: float = 1e-2
    initial: float = 3e-4
    every: AdaptEvery = "update"
    rate: float | None = None

    def __post_init__(self) -> None:
        number(above=0, hint="The usual range is 0.003 to 0.03.")("KLAdaptiveRate's target", self.target)
        number(at_least=1, hint="rsl_rl uses 2.")("KLAdaptiveRate's tolerance", self.tolerance)
        number(above=1, hint="rsl_rl uses 1.5.")("KLAdaptiveRate's factor", self.factor)
        number(above=0, hint="rsl_rl uses 1e-5.")("KLAdaptiveRate's low", self.low)
        number(at_least=self.low, at_most=1, hint="rsl_rl uses 1e-2.")("KLAdaptiveRate's high", self.high)
        between = number(at_least=self.low, at_most=self.high, hint="That is low to high.")
        between("KLAdaptiveRate's initial", self.initial)
        optional(between)("KLAdaptiveRate's rate", self.rate)
        choice(*get_args(AdaptEvery))("KLAdaptiveRate's every", self.every)

    def __call__(self, progress_remaining: float = 1.0) -> float:
        """
        :param progress_remaining: SB3 calls a schedule with it; it has no effect
        :return: the rate now in force
        """
        return self.initial if self.rate is None else self.rate

    def after(self, kl: float) -> "KLAdaptiveRate":
        """
        :param kl: Measured mean KL(old‖new) in nats
        :return: the same with the next rate in force
        """
        bounds = self.low, self.high
        return replace(self, rate=adapt_learning_rate(self(), kl, self.target, self.tolerance, self.factor, *bounds))
