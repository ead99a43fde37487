"""Estimates from samples against the exact KL and entropy, by sampling."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_ppo_variants.objectives import UnclippedSurrogate, entropy_advantage, k3_estimate

quickly = settings(max_examples=100, deadline=None, derandomize=True, database=None)
log_ratios = hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-20, 20))


def test_by_hand() -> None:
    log_ratio = np.log([1.0, 2.0, 0.5])
    # (1 − 1) − 0;  (2 − 1) − 0.693147 = 0.306853;  (0.5 − 1) + 0.693147 = 0.193147
    np.testing.assert_allclose(k3_estimate(log_ratio), [0.0, 0.306853, 0.193147], atol=5e-7)


@given(log_ratios)
@quickly
def test_never_negative(log_ratio: np.ndarray) -> None:
    for kind in (log_ratio, log_ratio.astype(np.float32)):
        assert np.all(k3_estimate(kind) >= 0)
        assert th.all(k3_estimate(th.from_numpy(kind)) >= 0)


def test_small_ratios_keep_their_digits_in_float32() -> None:
    # x²/2 + x³/6 for small x; written as exp(x) − 1 − x it would be rounding noise of 6e-8 below x = 3e-4.
    log_ratio = np.array([1e-3, -1e-3, 3e-4, -3e-4], np.float32)
    x = log_ratio.astype(np.float64)
    np.testing.assert_allclose(k3_estimate(log_ratio), x**2 / 2 + x**3 / 6, rtol=1e-3)
    np.testing.assert_allclose(k3_estimate(th.from_numpy(log_ratio)).numpy(), x**2 / 2 + x**3 / 6, rtol=1e-3)


@given(log_ratios)
@quickly
def test_numpy_and_torch_agree(log_ratio: np.ndarray) -> None:
    np.testing.assert_allclose(
        k3_estimate(log_ratio), k3_estimate(th.from_numpy(log_ratio)).numpy(), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize(("mean", "std"), [(0.3, 1.0), (0.0, 0.7), (-0.5, 1.2)])
def test_its_mean_is_the_kl_and_its_gradient_the_kls(mean: float, std: float) -> None:
    # Old policy N(0, 1), new N(mean, std); std² < 2, so that the ratio has a variance and the mean a standard error.
    actions = np.random.default_rng(1).normal(size=400_000)
    z = (actions - mean) / std
    log_ratio = -0.5 * z**2 - np.log(std) + 0.5 * actions**2
    kl = np.log(std) + (1 + mean**2) / (2 * std**2) - 0.5
    assert abs(k3_estimate(log_ratio).mean() - kl) < 5 * standard_error(k3_estimate(log_ratio))

    # Chain rule: ∂ log π/∂μ = z/σ, ∂ log π/∂ log σ = z² − 1; the KL's own: (μ − 0)/σ² and 1 − (1 + μ²)/σ².
    x = th.tensor(log_ratio, requires_grad=True)
    k3_estimate(x).sum().backward()
    for score, slope in ((z / std, mean / std**2), (z**2 - 1, 1 - (1 + mean**2) / std**2)):
        gradient = x.grad.numpy() * score
        assert abs(gradient.mean() - slope) < 5 * standard_error(gradient)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-3.0, 0.2), (0.5, 7.0)])
def test_the_gradient_of_the_entropys_advantage_is_the_entropys(mean: float, std: float) -> None:
    z = np.random.default_rng(2).normal(size=400_000)
    old_log_prob = th.tensor(-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi))
    log_ratio = th.zeros_like(old_log_prob, requires_grad=True)
    UnclippedSurrogate().value(log_ratio, entropy_advantage(old_log_prob)).sum().backward()
    # ∂ log π/∂μ = z/σ and ∂ log π/∂ log σ = z² − 1; ∂H/∂μ = 0 and ∂H/∂ log σ = 1.
    for score, slope in ((z / std, 0.0), (z**2 - 1, 1.0)):
        gradient = log_ratio.grad.numpy() * score
        assert abs(gradient.mean() - slope) < 5 * standard_error(gradient)


def standard_error(sample: np.ndarray) -> float:
    return float(sample.std() / np.sqrt(len(sample)))
