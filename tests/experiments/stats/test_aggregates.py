"""Aggregate metrics against hand arithmetic, scipy's building blocks and simulation; rliable: ``rliable_check.py``."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sb3_ppo_variants.experiments.stats import intervals
from sb3_ppo_variants.experiments.stats.aggregates import aggregate, performance_profile, rank_correlation
from sb3_ppo_variants.experiments.stats.intervals import bootstrap

# Two environments, four runs each.
SCORES = [[0.0, 0.2, 0.4, 1.0], [0.1, 0.5, 0.9, 1.3]]


def test_by_hand() -> None:
    found = aggregate(SCORES)
    assert found.mean.value == pytest.approx((0.4 + 0.7) / 2)
    # 0, 0.1 | 0.2, 0.4, 0.5, 0.9 | 1, 1.3
    assert found.iqm.value == pytest.approx((0.2 + 0.4 + 0.5 + 0.9) / 4)
    assert found.median.value == pytest.approx((0.4 + 0.7) / 2)  # of two means
    assert found.gap.value == pytest.approx(1 - (0.4 + (0.1 + 0.5 + 0.9 + 1.0) / 4) / 2)  # 1.3 counts as 1
    three = aggregate([*SCORES, [3.0, 3.0]])
    assert three.median.value == pytest.approx(0.7)  # 0.4, 0.7, 3
    assert three.mean.value == pytest.approx((0.4 + 0.7 + 3.0) / 3)  # environments weigh alike, runs do not


def test_intervals_are_stratified() -> None:
    # All runs of an environment are equal: environments differ, but resampling within them changes nothing.
    found = aggregate([[0.0] * 5, [1.0] * 5])
    assert found.mean.interval == (0.5, 0.5)
    assert aggregate([[0.0, 1.0], [1.0]]).mean.interval is None


def test_the_interval_of_the_mean_has_satterthwaites_degrees_of_freedom() -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 4)) * [[1], [3]]
    found = aggregate([x, y]).mean
    # The mean of two means is half their sum, and a sum has Welch's interval for a difference.
    expected = stats.ttest_ind(x, -y, equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low / 2, expected.high / 2))


def test_profile_by_hand() -> None:
    shares, low, high = performance_profile(SCORES, [-1.0, 0.4, 0.95, 2.0])
    # above 0.4: 1.0 of four, and 0.5, 0.9, 1.3 of four
    np.testing.assert_allclose(shares, [1.0, (1 / 4 + 3 / 4) / 2, (1 / 4 + 1 / 4) / 2, 0.0])
    assert (low <= shares).all()
    assert (shares <= high).all()
    assert (low[0], high[0], low[-1], high[-1]) == (1, 1, 0, 0)


def test_a_profile_draws_no_more_than_a_band_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(samples: Any, statistic: Any, level: float, resamples: int) -> Any:
        drawn.append(resamples)
        return bootstrap(samples, statistic, level, resamples)

    monkeypatch.setattr(intervals, "bootstrap", counted)
    # One environment outweighs the others, and three runs have two degrees of freedom.
    scores = [np.array([0.0, 1.0, 2.0]) * scale for scale in (1e3, 1.0, 1.0, 1.0, 1.0)]
    performance_profile(scores, np.linspace(0.0, 1.0, 3))
    assert drawn == [intervals.RESAMPLES]


def test_correlation_by_hand() -> None:
    variants = [[[3.0], [3.0]], [[1.0], [1.0]], [[2.0], [2.0]], [[0.0], [0.0]]]
    found = rank_correlation(variants, [4, 3, 2, 1])
    # ranks 4 2 3 1 against 4 3 2 1: 1 − 6·(0 + 1 + 1 + 0) / (4·15); five of six pairs in order, one not
    assert found.spearman.value == pytest.approx(1 - 6 * 2 / 60)
    assert found.kendall.value == pytest.approx((5 - 1) / 6)
    assert found.spearman.interval is None
    # Without the first 2 3 … are 1 3 2 against 3 2 1, without the second in order.
    assert found.left_out == pytest.approx([0.5, 1.0, 1.0, 0.5])


def test_correlation_of_certain_and_of_noisy_orders() -> None:
    rng = np.random.default_rng(1)
    sure = rank_correlation([[k + 0.01 * rng.normal(size=4)] for k in range(5)], [1, 2, 3, 4, 5])
    assert sure.spearman.value == pytest.approx(1)
    assert sure.spearman.interval == pytest.approx((1, 1))
    noisy = rank_correlation([[rng.normal(size=4)] for _ in range(5)], [1, 2, 3, 4, 5])
    assert noisy.spearman.interval is not None
    assert noisy.spearman.interval.low < 0 < noisy.spearman.interval.high


def test_the_correlation_spreads_as_far_as_means_of_so_few_runs() -> None:
    rng = np.random.default_rng(2)
    data = np.linspace(0, 1, 8)[:, None, None] + rng.normal(size=(8, 7, 3))  # variants, environments, runs
    found = rank_correlation(data.tolist(), list(range(8))).spearman.interval
    ours, theirs = data.mean((1, 2)), np.arange(8)
    error = np.sqrt(data.var(2, ddof=1).sum(1) / 3) / 7
    noise = rng.normal(size=(2, 999, 8)) * error
    expected = np.quantile(
        [stats.spearmanr(ours + a, theirs + b).statistic for a, b in zip(*noise, strict=True)], [0.025, 0.975]
    )
    assert found == pytest.approx(expected, abs=0.07)


@given(st.lists(st.lists(st.floats(-2, 3), min_size=1, max_size=6), min_size=1, max_size=4))
def test_bounds_and_pooling(samples: list[list[float]]) -> None:
    found = aggregate([[x] for x in samples[0]])
    everything = sorted(samples[0])
    assert found.iqm.value == pytest.approx(stats.trim_mean(everything, 0.25))
    assert everything[0] - 1e-9 <= found.iqm.value <= everything[-1] + 1e-9
    assert found.gap.value == pytest.approx(1 - np.minimum(everything, 1).mean())
