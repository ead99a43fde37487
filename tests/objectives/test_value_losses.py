"""The three value losses against hand arithmetic and automatic differentiation."""

from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional

from sb3_ppo_variants.objectives import ClippedSquaredError, MaxSquaredError, SquaredError, ValueLoss

C = 0.2
PLAIN, SB3, MAX = SquaredError(), ClippedSquaredError(C), MaxSquaredError(C)
# A new value loss is one more entry here.
LOSSES = (PLAIN, SB3, MAX)

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
quickly = settings(max_examples=50, deadline=None, derandomize=True, database=None)

# (V, V_old, R): V − V_old up to ±2, ten times the band.
shapes = st.tuples(st.just(3), st.integers(1, 8))
samples = hnp.arrays(np.float64, shapes, elements=st.floats(-1, 1)).map(tuple)


def away_from_kinks(values: np.ndarray, old_values: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Where none of the three has a corner: off the band's edges, and off |V − R| = |V_clip − R| outside the band."""
    change = values - old_values
    clipped = old_values + np.clip(change, -C, C)
    tie = np.abs(np.abs(values - returns) - np.abs(clipped - returns)) < 1e-9
    return (np.abs(np.abs(change) - C) > 1e-9) & ~(tie & (np.abs(change) > C))


@pytest.mark.parametrize(
    ("value", "old_value", "target", "losses", "slopes"),
    [
        # Inside the band all three are (0.6 − 2)² = 1.96 with slope 2·(0.6 − 2) = −2.8.
        (0.6, 0.5, 2.0, (1.96, 1.96, 1.96), (-2.8, -2.8, -2.8)),
        # Rose too far towards R: V_clip = 0.7; (1 − 2)² = 1; (0.7 − 2)² = 1.69, the larger, and flat.
        (1.0, 0.5, 2.0, (1.0, 1.69, 1.69), (-2.0, 0.0, 0.0)),
        # Rose too far away from R: V_clip = 0.7; (1 − 0)² = 1, the larger; 0.7² = 0.49. Only SB3's has no way back.
        (1.0, 0.5, 0.0, (1.0, 0.49, 1.0), (2.0, 0.0, 2.0)),
        # Fell too far away from R: V_clip = 0.3; (0 − 2)² = 4; (0.3 − 2)² = 2.89.
        (0.0, 0.5, 2.0, (4.0, 2.89, 4.0), (-4.0, 0.0, -4.0)),
        # Fell too far towards R: V_clip = 0.3; (0 + 1)² = 1; (0.3 + 1)² = 1.69.
        (0.0, 0.5, -1.0, (1.0, 1.69, 1.69), (2.0, 0.0, 0.0)),
    ],
)
def test_by_hand(value: float, old_value: float, target: float, losses: Any, slopes: Any) -> None:
    arguments = np.array([value]), np.array([old_value]), np.array([target])
    for loss, expected, slope in zip(LOSSES, losses, slopes, strict=True):
        np.testing.assert_allclose(loss.value(*arguments), [expected], rtol=1e-14)
        np.testing.assert_allclose(loss.slope(*arguments), [slope], rtol=1e-14)


@every_loss
@given(samples)
@quickly
def test_slope_is_the_derivative_of_value(loss: ValueLoss, sample: tuple[np.ndarray, ...]) -> None:
    values, old_values, returns = map(th.tensor, sample)
    values.requires_grad_()
    loss.value(values, old_values, returns).sum().backward()
    smooth = away_from_kinks(*sample)
    np.testing.assert_allclose(loss.slope(*sample)[smooth], values.grad.numpy()[smooth], rtol=1e-12, atol=1e-12)


@every_loss
@given(samples)
@quickly
def test_the_mean_has_the_slopes_mean_as_gradient(loss: ValueLoss, sample: tuple[np.ndarray, ...]) -> None:
    values, old_values, returns = map(th.tensor, sample)
    values.requires_grad_()
    mean = loss.mean(values, old_values, returns)
    mean.backward()
    assert mean.shape == ()
    assert mean.item() == pytest.approx(loss.value(*sample).mean(), rel=1e-13, abs=1e-300)
    smooth = away_from_kinks(*sample)
    np.testing.assert_allclose(
        values.grad.numpy()[smooth], loss.slope(*sample)[smooth] / len(values), rtol=1e-12, atol=1e-12
    )


@every_loss
def test_at_the_old_value_all_three_are_the_plain_loss(loss: ValueLoss) -> None:
    # A tie of every branch, where each update begins.
    values, returns = np.array([-1.0, 0.0, 0.3, 2.0]), np.array([0.5, 0.0, 0.3, -4.0])
    np.testing.assert_allclose(loss.value(values, values, returns), (values - returns) ** 2, rtol=1e-15)
    np.testing.assert_allclose(loss.slope(values, values, returns), 2 * (values - returns), rtol=1e-15)
    tensor = th.tensor(values, requires_grad=True)
    loss.mean(tensor, th.tensor(values), th.tensor(returns)).backward()
    np.testing.assert_allclose(tensor.grad.numpy(), 2 * (values - returns) / 4, rtol=1e-15)


@given(samples)
@quickly
def test_the_max_form_is_the_larger_of_the_two(sample: tuple[np.ndarray, ...]) -> None:
    value = MAX.value(*sample)
    assert np.all(value >= PLAIN.value(*sample))
    np.testing.assert_array_equal(
        value, np.where(PLAIN.value(*sample) > SB3.value(*sample), PLAIN.value(*sample), SB3.value(*sample))
    )


@given(samples)
@quickly
def test_sb3s_form_is_flat_outside_the_band_on_both_sides(sample: tuple[np.ndarray, ...]) -> None:
    values, old_values, _ = sample
    outside = np.abs(values - old_values) > C + 1e-12
    np.testing.assert_array_equal(SB3.slope(*sample)[outside], 0.0)
    inside = np.abs(values - old_values) < C - 1e-12
    np.testing.assert_allclose(SB3.slope(*sample)[inside], PLAIN.slope(*sample)[inside], rtol=1e-12, atol=1e-12)


def test_the_plain_mean_is_torchs_mean_squared_error() -> None:
    values, returns = th.randn(257, generator=th.Generator().manual_seed(0)), th.ones(257)
    assert th.equal(PLAIN.mean(values, values, returns), functional.mse_loss(values, returns))


@every_loss
@given(samples)
@quickly
def test_numpy_and_torch_agree(loss: ValueLoss, sample: tuple[np.ndarray, ...]) -> None:
    for function in (loss.value, loss.slope):
        ours, theirs = function(*sample), function(*map(th.from_numpy, sample))
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-15, atol=0)


UNEQUAL = [((4,), (4,), (4, 1)), ((4, 1), (4, 1), (4,)), ((4,), (4,), (1,)), ((4, 1), (4,), (4,))]


@every_loss
@pytest.mark.parametrize("shapes", UNEQUAL)
def test_unequal_shapes_are_rejected(loss: ValueLoss, shapes: Any) -> None:
    for kind in (np.zeros, th.zeros):
        with pytest.raises(ValueError, match=r"values \(.*returns \(.*equal shapes"):
            loss.value(*map(kind, shapes))
    with pytest.raises(ValueError, match=r"values \(.*returns \(.*equal shapes"):
        loss.mean(*map(th.zeros, shapes))


@pytest.mark.parametrize("loss", [SB3, MAX], ids=lambda loss: type(loss).__name__)
def test_old_values_of_another_shape_are_rejected(loss: ValueLoss) -> None:
    with pytest.raises(ValueError, match=r"old_values \(4, 1\)"):
        loss.value(np.zeros(4), np.zeros((4, 1)), np.zeros(4))


@every_loss
def test_the_slope_rejects_unequal_shapes_too(loss: ValueLoss) -> None:
    for shapes in UNEQUAL:
        with pytest.raises(ValueError, match="equal shapes"):
            loss.slope(*map(np.zeros, shapes))


def test_the_max_form_names_the_shapes_that_cannot_broadcast() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        MAX.value(th.zeros(4), th.zeros(4), th.zeros(3))
