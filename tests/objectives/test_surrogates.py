"""The contract that every surrogate keeps."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_ppo_variants.objectives import (
    ClippedSurrogate,
    DiscoveredSurrogate,
    DualClippedSurrogate,
    LogLikelihood,
    RollbackSurrogate,
    ScopicSurrogate,
    SoftClippedSurrogate,
    SPOSurrogate,
    Surrogate,
    UnclippedSurrogate,
)


class Case(NamedTuple):
    """
    :param surrogate: What is tested
    :param kinks: Ratios at which its value has a corner, so that no derivative is right there
    :param of_ratio: Whether its value at r = 1 is A (log-likelihood's is not)
    :param linear: Whether it is r·A all over its band, and not only to first order at r = 1
    """

    surrogate: Surrogate
    kinks: tuple[float, ...] = ()
    of_ratio: bool = True
    linear: bool = True


# To add a surrogate, add one line here: every test below that takes ``case`` then holds it to the contract.
SURROGATES = (
    Case(UnclippedSurrogate()),
    Case(ClippedSurrogate(0.2), (0.8, 1.2)),
    Case(ClippedSurrogate(0.2, 0.3), (0.8, 1.3)),
    Case(DualClippedSurrogate(ClippedSurrogate(0.2), 3.0), (0.8, 1.2, 3.0)),
    Case(DualClippedSurrogate(ClippedSurrogate(0.1, 0.4), 1.5), (0.9, 1.4, 1.5)),
    Case(SoftClippedSurrogate(ClippedSurrogate(0.2), 0.1), (0.7, 0.8, 1.2, 1.3)),
    Case(SoftClippedSurrogate(ClippedSurrogate(0.1, 0.4), 2.0), (0.9, 1.4, 3.4)),
    Case(DualClippedSurrogate(SoftClippedSurrogate(ClippedSurrogate(0.2), 0.5), 3.0), (0.3, 0.8, 1.2, 1.7, 3.0)),
    Case(RollbackSurrogate(0.2, 0.3), (0.8, 1.2)),
    Case(RollbackSurrogate(0.1, 1.0), (0.9, 1.1)),
    Case(SPOSurrogate(0.2), linear=False),
    Case(DiscoveredSurrogate(2.0, 0.6), linear=False),
    Case(ScopicSurrogate(4.0), linear=False),
    Case(LogLikelihood(), of_ratio=False),
)
CLIPPED = tuple(case for case in SURROGATES if isinstance(case.surrogate, ClippedSurrogate))
DUAL_CLIPPED = tuple(case for case in SURROGATES if isinstance(case.surrogate, DualClippedSurrogate))

every_surrogate = pytest.mark.parametrize("case", SURROGATES, ids=lambda case: str(case.surrogate))
every_clipped = pytest.mark.parametrize("case", CLIPPED, ids=lambda case: str(case.surrogate))
every_dual_clipped = pytest.mark.parametrize("case", DUAL_CLIPPED, ids=lambda case: str(case.surrogate))

quickly = settings(max_examples=50, deadline=None, derandomize=True, database=None)

# Ratios from e^-3 = 0.05 to e^3 = 20, far beyond every band and floor.
shapes = st.tuples(st.just(2), st.integers(1, 8))
samples = hnp.arrays(np.float64, shapes, elements=st.floats(-1, 1)).map(lambda drawn: (3 * drawn[0], 10 * drawn[1]))


def by_autograd(surrogate: Surrogate, log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    x = th.tensor(log_ratio, requires_grad=True)
    surrogate.value(x, th.tensor(advantage)).sum().backward()
    return x.grad.numpy()


def grid(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratios from low to high with advantages of both signs, zero too."""
    ratio, advantage = np.meshgrid(np.linspace(low, high, 41), [-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0])
    return ratio.ravel(), advantage.ravel()


@every_surrogate
@given(samples)
@quickly
def test_slope_is_the_derivative_of_value(case: Case, sample: tuple[np.ndarray, np.ndarray]) -> None:
    log_ratio, advantage = sample
    smooth = np.ones(len(log_ratio), bool)
    for kink in case.kinks:
        smooth &= np.abs(log_ratio - np.log(kink)) > 1e-9
    slope = case.surrogate.slope(log_ratio, advantage)
    np.testing.assert_allclose(
        slope[smooth], by_autograd(case.surrogate, log_ratio, advantage)[smooth], rtol=1e-13, atol=1e-13
    )


@every_surrogate
def test_slope_is_the_derivative_at_ties(case: Case) -> None:
    # Inside the band clipped and unclipped are the same number, and torch.minimum shares the gradient between the two.
    # At ratio 1 exactly that is where every first minibatch stands.
    low, high = case.surrogate.band or (0.2, 0.2)
    ratio, advantage = grid(1 - low + 1e-6, 1 + high - 1e-6)
    log_ratio = np.concatenate([np.log(ratio), np.zeros(3)])
    advantage = np.concatenate([advantage, [-2.0, 0.0, 2.0]])
    slope = case.surrogate.slope(log_ratio, advantage)
    rounding = {"rtol": 1e-14, "atol": 0 if case.linear else 1e-13}
    np.testing.assert_allclose(slope, by_autograd(case.surrogate, log_ratio, advantage), **rounding)
    if case.linear:
        expected = advantage * np.exp(log_ratio) if case.of_ratio else advantage
        np.testing.assert_allclose(slope, expected, rtol=1e-14)
    np.testing.assert_array_equal(slope[-3:], [-2.0, 0.0, 2.0])


@every_surrogate
@given(samples)
@quickly
def test_slope_is_the_limit_of_differences(case: Case, sample: tuple[np.ndarray, np.ndarray]) -> None:
    # Independent of both statements of the function: (f(x + h) − f(x − h)) / 2h, error h²·f'''/6 ≤ 1e-10·20·10/6.
    log_ratio, advantage = sample
    h = 1e-5
    smooth = np.ones(len(log_ratio), bool)
    for kink in case.kinks:
        smooth &= np.abs(log_ratio - np.log(kink)) > 2 * h
    rise = case.surrogate.value(log_ratio + h, advantage) - case.surrogate.value(log_ratio - h, advantage)
    slope = case.surrogate.slope(log_ratio, advantage)
    np.testing.assert_allclose(slope[smooth], rise[smooth] / (2 * h), rtol=1e-7, atol=1e-6)


@every_surrogate
@given(samples)
@quickly
def test_numpy_and_torch_agree(case: Case, sample: tuple[np.ndarray, np.ndarray]) -> None:
    for function in (case.surrogate.value, case.surrogate.slope):
        ours, theirs = function(*sample), function(*map(th.from_numpy, sample))
        assert isinstance(ours, np.ndarray)
        assert isinstance(theirs, th.Tensor)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-14, atol=1e-300 if case.linear else 1e-13)


@every_surrogate
@pytest.mark.parametrize("kind", [np.zeros, th.zeros])
def test_one_value_per_sample_in_the_dtype_given(case: Case, kind: Any) -> None:
    for dtype in ("float32", "float64"):
        arrays = [kind(5, dtype=getattr(np if kind is np.zeros else th, dtype)) for _ in range(2)]
        for function in (case.surrogate.value, case.surrogate.slope):
            result = function(*arrays)
            assert result.shape == (5,)
            assert result.dtype == arrays[0].dtype


@every_surrogate
@pytest.mark.parametrize("kind", [np.zeros, th.zeros])
@pytest.mark.parametrize(
    "shapes", [((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((1,), (4,)), ((4,), ()), ((4,), (3,))]
)
def test_unequal_shapes_are_rejected(case: Case, kind: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for function in (case.surrogate.value, case.surrogate.slope):
        with pytest.raises(ValueError, match=r"log_ratio \(.*advantage \(.*equal shapes"):
            function(kind(shapes[0]), kind(shapes[1]))


@every_surrogate
def test_at_ratio_one_the_value_is_the_advantage(case: Case) -> None:
    advantage = np.array([-5.0, -0.3, 0.0, 0.7, 4.0])
    value = case.surrogate.value(np.zeros(5), advantage)
    # Log-likelihood is log r · A, and log 1 = 0.
    np.testing.assert_array_equal(value, advantage if case.of_ratio else np.zeros(5))


@every_surrogate
def test_band_says_where_clipping_begins(case: Case) -> None:
    expected = {
        ClippedSurrogate(0.2): (0.2, 0.2),
        ClippedSurrogate(0.2, 0.3): (0.2, 0.3),
        DualClippedSurrogate(ClippedSurrogate(0.2), 3.0): (0.2, 0.2),
        DualClippedSurrogate(ClippedSurrogate(0.1, 0.4), 1.5): (0.1, 0.4),
        SoftClippedSurrogate(ClippedSurrogate(0.2), 0.1): (0.2, 0.2),
        SoftClippedSurrogate(ClippedSurrogate(0.1, 0.4), 2.0): (0.1, 0.4),
        DualClippedSurrogate(SoftClippedSurrogate(ClippedSurrogate(0.2), 0.5), 3.0): (0.2, 0.2),
        RollbackSurrogate(0.2, 0.3): (0.2, 0.2),
        RollbackSurrogate(0.1, 1.0): (0.1, 0.1),
        SPOSurrogate(0.2): (0.2, 0.2),
    }
    assert case.surrogate.band == expected.get(case.surrogate)


@every_clipped
@given(samples)
@quickly
def test_clipped_is_a_pessimistic_bound(case: Case, sample: tuple[np.ndarray, np.ndarray]) -> None:
    # Also for A < 0, where the smaller number is the more negative one.
    assert np.all(case.surrogate.value(*sample) <= UnclippedSurrogate().value(*sample))


@every_clipped
def test_flat_on_the_favoured_side_only(case: Case) -> None:
    low, high = case.surrogate.band
    ratio, advantage = grid(0.05, 3.0)
    away = np.minimum(np.abs(ratio - (1 - low)), np.abs(ratio - (1 + high))) > 1e-9
    ratio, advantage = ratio[away], advantage[away]
    flat = ((advantage > 0) & (ratio > 1 + high)) | ((advantage < 0) & (ratio < 1 - low))
    value = case.surrogate.value(np.log(ratio), advantage)
    slope = case.surrogate.slope(np.log(ratio), advantage)
    assert flat.any()
    assert (~flat).any()
    np.testing.assert_array_equal(slope[flat], 0.0)
    np.testing.assert_allclose(slope[~flat], (ratio * advantage)[~flat], rtol=1e-13)
    np.testing.assert_allclose(value[~flat], (ratio * advantage)[~flat], rtol=1e-13)
    edge = np.where(advantage > 0, 1 + high, 1 - low)
    np.testing.assert_allclose(value[flat], (edge * advantage)[flat], rtol=1e-13)


@every_dual_clipped
@given(samples)
@quickly
def test_dual_clip_is_the_clipped_surrogate_over_a_floor(case: Case, sample: tuple[np.ndarray, np.ndarray]) -> None:
    log_ratio, advantage = sample
    surrogate: Any = case.surrogate
    value, clipped = surrogate.value(log_ratio, advantage), surrogate.clipped.value(log_ratio, advantage)
    negative = advantage < 0
    np.testing.assert_array_equal(value[~negative], clipped[~negative])
    floor = surrogate.dual_clip * advantage
    np.testing.assert_allclose(value[negative], np.where(clipped > floor, clipped, floor)[negative], rtol=1e-14)
    slope = surrogate.slope(log_ratio, advantage)
    runaway = negative & (log_ratio > np.log(surrogate.dual_clip) + 1e-9)
    np.testing.assert_array_equal(slope[runaway], 0.0)
    np.testing.assert_array_equal(slope[~runaway], surrogate.clipped.slope(log_ratio, advantage)[~runaway])


TANH_1 = 0.7615941559557649
SIGMOID_2 = 0.8807970779778824
CLIP = ClippedSurrogate(0.2)
HIGHER = ClippedSurrogate(0.2, 0.3)
DUAL = DualClippedSurrogate(CLIP, 3.0)
SOFT = SoftClippedSurrogate(CLIP, 0.4)
ROLLBACK = RollbackSurrogate(0.2, 0.3)
SPO = SPOSurrogate(0.2)
DISCOVERED = DiscoveredSurrogate(2.0, 0.6)
SCOPIC = ScopicSurrogate(4.0)


@pytest.mark.parametrize(
    ("surrogate", "ratio", "advantage", "value", "slope"),
    [
        (UnclippedSurrogate(), 1.5, 2.0, 3.0, 3.0),  # 1.5 · 2
        (UnclippedSurrogate(), 0.5, -2.0, -1.0, -1.0),  # 0.5 · −2
        (CLIP, 1.5, 2.0, 2.4, 0.0),  # min(1.5·2 = 3, 1.2·2 = 2.4): flat
        (CLIP, 0.5, 2.0, 1.0, 1.0),  # min(0.5·2 = 1, 0.8·2 = 1.6): full slope, it went the wrong way
        (CLIP, 1.1, 2.0, 2.2, 2.2),  # inside: 1.1 · 2
        (CLIP, 0.5, -2.0, -1.6, 0.0),  # min(0.5·−2 = −1, 0.8·−2 = −1.6): flat
        (CLIP, 1.5, -2.0, -3.0, -3.0),  # min(1.5·−2 = −3, 1.2·−2 = −2.4): full slope
        (HIGHER, 1.25, 2.0, 2.5, 2.5),  # 1.25 < 1.3: still inside
        (HIGHER, 1.5, 2.0, 2.6, 0.0),  # 1.3 · 2
        (HIGHER, 0.5, -2.0, -1.6, 0.0),  # the lower edge stays 0.8
        (DUAL, 4.0, -2.0, -6.0, 0.0),  # max(4·−2 = −8, 3·−2 = −6): on the floor
        (DUAL, 2.5, -2.0, -5.0, -5.0),  # max(−5, −6): above the floor
        (DUAL, 0.5, -2.0, -1.6, 0.0),  # the clip itself
        (DUAL, 4.0, 2.0, 2.4, 0.0),  # no floor for A > 0
        (LogLikelihood(), np.exp(0.3), -2.0, -0.6, -2.0),  # 0.3 · −2; its slope is A
        (SOFT, 1.3, 2.0, 2.575, 1.95),  # (1.2 + 0.1 − 0.1²/0.8)·2; a quarter of 0.4 has gone: 0.75·1.3·2
        (SOFT, 1.8, 2.0, 2.8, 0.0),  # (1.2 + 0.4 − 0.4²/0.8)·2 from 1.6 on
        (SOFT, 0.6, -2.0, -1.3, -0.6),  # (0.8 − 0.2 + 0.2²/0.8)·−2; half of 0.4 has gone: 0.5·0.6·−2
        (SOFT, 0.3, -2.0, -1.2, 0.0),  # (0.8 − 0.4 + 0.4²/0.8)·−2 below 0.4
        (SOFT, 1.5, -2.0, -3.0, -3.0),  # the wrong way: r·A
        (ROLLBACK, 1.5, 2.0, 2.22, -0.9),  # (−0.3·1.5 + 1.3·1.2)·2; −0.3·1.5·2
        (ROLLBACK, 0.5, -2.0, -1.78, 0.3),  # (−0.3·0.5 + 1.3·0.8)·−2; −0.3·0.5·−2
        (ROLLBACK, 0.5, 2.0, 1.0, 1.0),  # the wrong way: r·A
        (ROLLBACK, 1.1, -2.0, -2.2, -2.2),  # inside: r·A
        (SPO, 1.5, 2.0, 1.75, -4.5),  # 3 − 2·0.5²/0.4; 1.5·(2 − 2·0.5/0.2)
        (SPO, 0.5, -2.0, -2.25, 1.5),  # −1 − 2·0.5²/0.4; 0.5·(−2 + 2·0.5/0.2)
        (SPO, 0.5, 2.0, -0.25, 3.5),  # 1 − 1.25; 0.5·(2 + 5)
        (DISCOVERED, 2.0, 2.0, 2 + 2 * TANH_1, 4 * (1 - TANH_1**2)),  # u = 2: 4 − (2 − 2·tanh(2/2)); 4·(1 − tanh²(1))
        (DISCOVERED, 0.5, 2.0, 1.0, 1.0),  # u = −1 < 0: no drift
        # v = −2·log e^−0.3 = 0.6: −2·e^−0.3 − (0.6 − 0.6·tanh(0.6/0.6)); −2·(e^−0.3 − tanh²(1))
        (DISCOVERED, np.exp(-0.3), -2.0, -2 * np.exp(-0.3) - 0.6 + 0.6 * TANH_1, -2 * (np.exp(-0.3) - TANH_1**2)),
        (DISCOVERED, 1.5, -2.0, -3.0, -3.0),  # v < 0: no drift
        # σ(4·0.5) = e²/(1 + e²): (1 + σ − 0.5)·A; its slope is r·A·4σ(1 − σ)
        (SCOPIC, 1.5, 2.0, 1 + 2 * SIGMOID_2, 12 * SIGMOID_2 * (1 - SIGMOID_2)),
        (SCOPIC, 0.5, -2.0, -3 + 2 * SIGMOID_2, -4 * SIGMOID_2 * (1 - SIGMOID_2)),  # σ(−x) = 1 − σ(x)
    ],
)
def test_by_hand(surrogate: Surrogate, ratio: float, advantage: float, value: float, slope: float) -> None:
    arguments = np.log([ratio]), np.array([advantage])
    np.testing.assert_allclose(surrogate.value(*arguments), [value], rtol=1e-14)
    np.testing.assert_allclose(surrogate.slope(*arguments), [slope], rtol=1e-14)


def test_spo_has_one_stationary_point() -> None:
    ratio, advantage = grid(0.05, 3.0)
    ratio, advantage = ratio[advantage != 0], advantage[advantage != 0]
    best = 1 + 0.2 * np.sign(advantage)
    np.testing.assert_allclose(SPO.slope(np.log(best), advantage), 0, atol=1e-13)
    # Everywhere else the slope leads there, so that it is a maximum for either sign of A.
    elsewhere = np.abs(ratio - best) > 1e-9
    slope = SPO.slope(np.log(ratio), advantage)
    np.testing.assert_array_equal(np.sign(slope)[elsewhere], np.sign(best - ratio)[elsewhere])


@given(samples)
@quickly
def test_without_rollback_it_is_the_clip(sample: tuple[np.ndarray, np.ndarray]) -> None:
    none = RollbackSurrogate(0.2, 0.0)
    for function in ("value", "slope"):
        np.testing.assert_array_equal(getattr(none, function)(*sample), getattr(CLIP, function)(*sample))
    np.testing.assert_array_equal(by_autograd(none, *sample), by_autograd(CLIP, *sample))


@given(samples)
@quickly
def test_a_rollback_of_one_is_bpo(sample: tuple[np.ndarray, np.ndarray]) -> None:
    # The distance to 1 + ε·sign A, weighted with |A|; for A = 0 both are 0.
    log_ratio, advantage = sample
    edge = 1 + 0.2 * np.sign(advantage)
    bpo = edge * advantage - np.abs(advantage) * np.abs(np.exp(log_ratio) - edge)
    np.testing.assert_allclose(RollbackSurrogate(0.2, 1.0).value(*sample), bpo, rtol=1e-13, atol=1e-13)


@given(samples)
@quickly
def test_softness_rounds_the_corner_from_below(sample: tuple[np.ndarray, np.ndarray]) -> None:
    log_ratio, advantage = sample
    clipped, unclipped = CLIP.value(*sample), UnclippedSurrogate().value(*sample)
    for softness in (1e-6, 0.1, 2.0):
        value = SoftClippedSurrogate(CLIP, softness).value(*sample)
        assert np.all(value <= unclipped)
        # Between the clip and δ/2 above it: |A| times the area under the fading slope.
        assert np.all(value >= clipped - 1e-13)
        assert np.all(value <= clipped + np.abs(advantage) * softness / 2 + 1e-13)
    outside = np.abs(np.abs(np.exp(log_ratio) - 1) - 0.2) > 1e-6
    nearly = SoftClippedSurrogate(CLIP, 1e-6)
    np.testing.assert_allclose(nearly.slope(*sample)[outside], CLIP.slope(*sample)[outside], rtol=1e-13)


def test_soft_slope_fades_linearly() -> None:
    ratio = np.linspace(1.2, 1.6, 5)
    slope = SOFT.slope(np.log(ratio), np.full(5, 2.0)) / ratio
    np.testing.assert_allclose(slope, [2.0, 1.5, 1.0, 0.5, 0.0], atol=1e-13)


def test_the_scopic_surrogate_is_the_papers_but_for_a_constant() -> None:
    ratio, advantage = grid(0.05, 3.0)
    for temperature in (1.5, 4.0):
        papers = 4 / temperature / (1 + np.exp(-temperature * (ratio - 1))) * advantage
        shift = ScopicSurrogate(temperature).value(np.log(ratio), advantage) - papers
        np.testing.assert_allclose(shift, (1 - 2 / temperature) * advantage, rtol=1e-13, atol=1e-14)


def test_log_likelihood_has_the_gradient_of_advantage_times_log_prob() -> None:
    mean = th.tensor([0.3, -0.2], dtype=th.float64, requires_grad=True)
    actions, advantage = th.tensor([1.0, 0.5], dtype=th.float64), th.tensor([2.0, -3.0], dtype=th.float64)
    log_prob = th.distributions.Normal(mean, 0.7).log_prob(actions)
    old_log_prob = th.distributions.Normal(mean.detach() + 0.1, 0.8).log_prob(actions)
    (ours,) = th.autograd.grad(LogLikelihood().value(log_prob - old_log_prob, advantage).sum(), mean, retain_graph=True)
    (plain,) = th.autograd.grad((advantage * log_prob).sum(), mean)
    th.testing.assert_close(ours, plain, rtol=1e-14, atol=0)


def test_unclipped_mean_is_the_new_policys_advantage() -> None:
    # E_old[r·A] = E_new[A]: with A(a) = a, old N(0, 1) and new N(0.5, 1) that is 0.5.
    actions = np.random.default_rng(0).normal(size=200_000)
    log_ratio = 0.5 * actions - 0.125  # log N(a; 0.5, 1) − log N(a; 0, 1) = 0.5·a − 0.5²/2
    value = UnclippedSurrogate().value(log_ratio, actions)
    assert abs(value.mean() - 0.5) < 5 * value.std() / np.sqrt(len(value))


# Differentiating max(min(…)) through exp = inf gives 0·∞ = NaN; the floor is there for ratios that ran away.
def test_the_floor_holds_where_the_ratio_overflows() -> None:
    log_ratio = th.tensor([100.0], requires_grad=True)
    advantage = th.tensor([-1.0])
    value = DUAL.value(log_ratio, advantage)
    value.sum().backward()
    assert value.item() == pytest.approx(-3.0)  # 3 · −1
    assert DUAL.slope(log_ratio.detach(), advantage).item() == 0.0
    assert log_ratio.grad.item() == 0.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    "surrogate", [CLIP, SOFT, RollbackSurrogate(0.2, 0.0), DiscoveredSurrogate(2.0, 0.6), ScopicSurrogate(4.0)]
)
def test_flat_surrogates_are_flat_where_the_ratio_overflows(surrogate: Surrogate, kind: Any) -> None:
    log_ratio, advantage = np.array([5.0, 20.0, 90.0, 800.0], kind), np.full(4, 1.5, kind)
    with np.errstate(over="ignore"):
        slope, value = (function(log_ratio, advantage) for function in (surrogate.slope, surrogate.value))
    np.testing.assert_allclose(slope, 0, atol=1e-30)
    np.testing.assert_allclose(value, value[0], rtol=1e-6)


def test_the_discovered_surrogate_keeps_its_digits() -> None:
    # By hand: far above r = 1 it is A + α·tanh(…) = A + α.
    log_ratio = np.array([10.0, 15.0, 20.0, 30.0], np.float32)
    value = DiscoveredSurrogate(2.0, 0.6).value(log_ratio, np.ones(4, np.float32))
    np.testing.assert_allclose(value, 3.0, rtol=1e-6)


def test_an_advantage_that_is_not_a_number_is_not_hidden_by_clipping() -> None:
    slope = ClippedSurrogate(0.2).slope(np.array([0.0, 1.0, -1.0]), np.full(3, np.nan))
    assert np.isnan(slope).all()
