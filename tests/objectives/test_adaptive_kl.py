"""What follows the KL, the coefficient and the learning rate: below, inside and above its band."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_ppo_variants.objectives import KLAdaptiveRate, adapt_kl_coef, adapt_learning_rate
from sb3_ppo_variants.objectives.adaptive_kl import HIGHEST_KL_COEF, LOWEST_KL_COEF

quickly = settings(max_examples=100, deadline=None, derandomize=True, database=None)
coefficients = st.floats(LOWEST_KL_COEF, HIGHEST_KL_COEF)
targets = st.floats(1e-6, 1.0)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (0.0, 0.5),  # below 0.012 / 1.5 = 0.008: 1 / 2
        (0.0079, 0.5),
        (0.0081, 1.0),
        (0.012, 1.0),
        (0.0179, 1.0),
        (0.0181, 2.0),  # above 0.012 · 1.5 = 0.018: 1 · 2
        (5.0, 2.0),
        (math.inf, 2.0),
        (math.nan, 1.0),
        (-1e-9, 0.5),  # rounding noise around 0 counts as below
    ],
)
def test_by_hand(kl: float, expected: float) -> None:
    assert adapt_kl_coef(1.0, kl, target=0.012) == expected


def test_the_edges_belong_to_the_band() -> None:
    # Powers of two, so that target / tolerance and target · tolerance are exact: 0.25 / 2 = 0.125, 0.25 · 2 = 0.5.
    assert adapt_kl_coef(1.0, 0.125, target=0.25, tolerance=2.0) == 1.0
    assert adapt_kl_coef(1.0, math.nextafter(0.125, 0), target=0.25, tolerance=2.0) == 0.5
    assert adapt_kl_coef(1.0, 0.5, target=0.25, tolerance=2.0) == 1.0
    assert adapt_kl_coef(1.0, math.nextafter(0.5, 1), target=0.25, tolerance=2.0) == 2.0


def test_a_tolerance_of_one_leaves_only_the_target() -> None:
    assert adapt_kl_coef(1.0, 0.01, target=0.01, tolerance=1.0) == 1.0
    assert adapt_kl_coef(1.0, math.nextafter(0.01, 1), target=0.01, tolerance=1.0) == 2.0
    assert adapt_kl_coef(1.0, math.nextafter(0.01, 0), target=0.01, tolerance=1.0) == 0.5


def test_factor_says_how_far() -> None:
    assert adapt_kl_coef(6.0, 1.0, target=0.01, factor=3.0) == 18.0
    assert adapt_kl_coef(6.0, 0.0, target=0.01, factor=3.0) == 2.0


@given(coefficients, targets, st.floats(0, 1), st.floats(1.0, 10.0), st.floats(1.01, 10.0))
@quickly
def test_below_inside_above(coef: float, target: float, where: float, tolerance: float, factor: float) -> None:
    """``where`` picks a KL in each of the three regions."""
    low, high = target / tolerance, target * tolerance
    below, above = low * where * 0.999, high * (1.001 + where)
    inside = low + (high - low) * (0.001 + 0.998 * where)
    assert adapt_kl_coef(coef, below, target, tolerance, factor) == max(coef / factor, LOWEST_KL_COEF)
    assert adapt_kl_coef(coef, above, target, tolerance, factor) == min(coef * factor, HIGHEST_KL_COEF)
    if low < inside < high:
        assert adapt_kl_coef(coef, inside, target, tolerance, factor) == coef


@given(st.floats(0, 1e300), st.floats(0) | st.just(math.nan), targets)
@quickly
def test_stays_within_its_bounds(coef: float, kl: float, target: float) -> None:
    assert LOWEST_KL_COEF <= adapt_kl_coef(coef, kl, target) <= HIGHEST_KL_COEF


@given(coefficients, targets)
@quickly
def test_not_a_number_leaves_it(coef: float, target: float) -> None:
    assert adapt_kl_coef(coef, math.nan, target) == coef


def test_halving_for_ever_comes_back() -> None:
    coef = 1.0
    for _ in range(2000):
        coef = adapt_kl_coef(coef, 0.0, target=0.01)
    assert coef == 1e-10
    assert adapt_kl_coef(coef, 1.0, target=0.01) == 2e-10
    for _ in range(2000):
        coef = adapt_kl_coef(coef, math.inf, target=0.01)
    assert coef == 1e10


#: Far above, at the upper edge, inside, at the lower edge, below, and back; in units of the target.
SERIES = [10.0, 2.5, 2.0, 1.0, 0.5, 0.3, 0.01] * 3 + [0.1] * 12 + [30.0] * 25 + [0.4] * 3


def rsl_rls_rule(rate: float, kl: float) -> float:
    """rsl_rl's ``PPO.update`` with ``desired_kl=0.01``, as it stands there."""
    desired_kl = 0.01
    if kl > desired_kl * 2.0:
        return max(1e-5, rate / 1.5)
    if kl < desired_kl / 2.0 and kl > 0.0:
        return min(1e-2, rate * 1.5)
    return rate


def skrls_rule(rate: float, kl: float) -> float:
    """skrl's ``KLAdaptiveLR.step`` with its defaults, as it stands there."""
    kl_threshold, kl_factor, lr_factor, min_lr, max_lr = 0.008, 2, 1.5, 1e-6, 1e-2
    if kl > kl_threshold * kl_factor:
        return max(rate / lr_factor, min_lr)
    if kl < kl_threshold / kl_factor:
        return min(rate * lr_factor, max_lr)
    return rate


@pytest.mark.parametrize(
    ("rule", "ours"),
    [(rsl_rls_rule, KLAdaptiveRate(0.01)), (skrls_rule, KLAdaptiveRate(0.008, low=1e-6))],
    ids=["rsl_rl", "skrl"],
)
def test_the_rate_is_that_of_other_libraries(rule, ours) -> None:
    rate, rates = ours(), set()
    for kl in (ours.target * ratio for ratio in SERIES):
        rate, ours = rule(rate, kl), ours.after(kl)
        assert ours() == rate
        rates.add(rate)
    assert {ours.low, ours.high} <= rates


@pytest.mark.parametrize("kl", [0.0, -1e-9, math.nan])
def test_a_kl_of_zero_does_not_raise_the_rate(kl) -> None:
    assert KLAdaptiveRate(0.01).after(kl)() == 3e-4


def test_an_infinite_kl_lowers_the_rate() -> None:
    assert adapt_learning_rate(3e-4, math.inf, 0.01, factor=2.0) == 1.5e-4


@given(st.floats(0, 1), st.floats(0) | st.just(math.nan), targets)
@quickly
def test_the_rate_stays_within_its_bounds(rate: float, kl: float, target: float) -> None:
    assert 1e-5 <= adapt_learning_rate(rate, kl, target) <= 1e-2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"target": 0.0}, ValueError),
        ({"target": math.inf}, ValueError),
        ({"target": math.nan}, ValueError),
        ({"target": "0.01"}, TypeError),
        ({"tolerance": 0.5}, ValueError),
        ({"factor": 1.0}, ValueError),
        ({"low": 0.0}, ValueError),
        ({"high": 2.0}, ValueError),
        ({"high": 1e-6}, ValueError),
        ({"initial": 0.1}, ValueError),
        ({"rate": 0.1}, ValueError),
        ({"rate": "fast"}, TypeError),
        ({"every": "epoch"}, ValueError),
    ],
)
def test_arguments_out_of_range_are_named(arguments, error) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=rf"^KLAdaptiveRate's {name}={value!r} is"):
        KLAdaptiveRate(**{"target": 0.01} | arguments)
