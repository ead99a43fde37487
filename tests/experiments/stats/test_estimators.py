"""Statistics against cases worked by hand."""

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.stats import estimators


def test_center_is_the_mean_below_four_runs() -> None:
    assert estimators.center([1.0, 2.0, 9.0]) == pytest.approx((1 + 2 + 9) / 3)
    assert estimators.center_name(3) == "mean"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 1.0, 3.0, 100.0], (1 + 3) / 2),  # one of four cut at each end
        ([-50.0, 1.0, 2.0, 6.0, 100.0], (1 + 2 + 6) / 3),  # ⌊5/4⌋ = 1 cut at each end
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.0], (1 + 2 + 3 + 4) / 4),  # two of eight cut at each end
    ],
)
def test_center_is_the_interquartile_mean_from_four_runs(scores: list[float], expected: float) -> None:
    assert estimators.center(scores) == pytest.approx(expected)
    assert estimators.center(scores[::-1]) == pytest.approx(expected)
    assert estimators.center_name(len(scores)) == "IQM"


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([1.0, 1.0], [1.0, 1.0], 0.5),
        ([2.0, 3.0], [1.0, 2.0], (1 + 0.5 + 1 + 1) / 4),  # 2>1, 2=2, 3>1, 3>2
        ([5.0], [1.0, 9.0, 5.0], (1 + 0 + 0.5) / 3),
    ],
)
def test_improvement_counts_pairs_and_halves_ties(x: list[float], y: list[float], expected: float) -> None:
    assert estimators.improvement(x, y) == pytest.approx(expected)
    assert estimators.improvement(y, x) == pytest.approx(1 - expected)


def test_mean_improvement_weighs_environments_alike() -> None:
    pairs = [([1.0] * 9, [0.0]), ([0.0], [1.0] * 9)]
    assert estimators.mean_improvement(pairs) == pytest.approx((1 + 0) / 2)


def test_widened_level_makes_the_interval_of_a_mean_students() -> None:
    x = np.random.default_rng(3).normal(size=8)
    level = estimators.widened_level(0.9, 8)
    # A percentile interval of a mean is close to normal with the variance of the sample, not of the population.
    half = stats.norm.ppf((1 + level) / 2) * x.std(ddof=0) / np.sqrt(8)
    expected = stats.t.interval(0.9, 7, loc=x.mean(), scale=stats.sem(x))
    assert (x.mean() - half, x.mean() + half) == pytest.approx(expected)


def test_difference_of_centers_and_its_interval() -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 3, 12))
    pairs = list(zip(x, y, strict=True))
    expected = np.mean(stats.trim_mean(x, 0.25, axis=1) - stats.trim_mean(y, 0.25, axis=1))
    assert estimators.mean_difference(pairs) == pytest.approx(expected)
    wide, narrow = estimators.difference_interval(pairs, 0.99), estimators.difference_interval(pairs, 0.5)
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low < expected < narrow.high < wide.high
    # With two runs each in one environment the difference of means takes 9 values; the ends have probability 1/16.
    pair = [([0.0, 2.0], [10.0, 14.0])]
    assert estimators.difference_interval(pair, 0.95) == (0 - 14, 2 - 10)
    assert estimators.difference_error(pair) == pytest.approx(np.sqrt(2**2 / 8 + 4**2 / 8), rel=0.03)
    assert estimators.difference_error([([0.0], [1.0, 2.0])]) is None


def test_intervals_need_two_runs() -> None:
    assert estimators.center_interval([1.0]) is None
    assert estimators.improvement_interval([([1.0, 2.0], [1.0])]) is None
    assert estimators.improvement_interval([([1.0, 2.0], [1.0, 2.0]), ([1.0], [1.0, 2.0])]) is None


def test_interval_of_equal_scores_is_a_point() -> None:
    assert estimators.center_interval([7.0] * 5) == (7.0, 7.0)
    assert estimators.improvement_interval([([7.0] * 5, [7.0] * 5)]) == (0.5, 0.5)


def test_interval_of_two_runs_has_its_exact_ends() -> None:
    # The four resamples of (0, 1) have means 0, 1/2, 1/2, 1, a quarter each: the 2.5 % ends are 0 and 1.
    assert estimators.center_interval([0.0, 1.0]) == (0.0, 1.0)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [estimators.center_interval(rng.normal(size=20)) for _ in range(200)]
    covered = np.mean([i is not None and i.low <= 0.0 <= i.high for i in found])
    assert 0.88 <= covered <= 0.99  # percentile intervals are a little too short for small n


def test_interval_is_stratified_by_environment() -> None:
    """Within each environment nothing varies, so resampling within environments gives a point."""
    pairs = [([10.0, 10.0], [0.0, 0.0]), ([-5.0, -5.0], [5.0, 5.0])]
    assert estimators.improvement_interval(pairs) == (0.5, 0.5)


def test_intervals_repeat() -> None:
    scores = [1.0, 5.0, 2.0, 8.0, 3.0]
    assert estimators.center_interval(scores) == estimators.center_interval(scores)


def test_mean_ranks() -> None:
    # Environment 1: 30 > 20 > 10, ranks 3 2 1. Environment 2: 5 = 5 > 1, ranks 1.5 1.5 3.
    ranks = estimators.mean_ranks([[10.0, 20.0, 30.0], [5.0, 5.0, 1.0]])
    np.testing.assert_allclose(ranks, [(3 + 1.5) / 2, (2 + 1.5) / 2, (1 + 3) / 2])


def test_curve_band() -> None:
    mean, low, high = estimators.curve_band([[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(mean, [1.0, 0.5])
    np.testing.assert_allclose(low, [1.0, 0.0])
    np.testing.assert_allclose(high, [1.0, 1.0])
    alone = estimators.curve_band([[1.0, 2.0]])
    assert all((part == [1.0, 2.0]).all() for part in alone)


def test_common_grid_is_where_all_runs_are_known() -> None:
    grid, returns = estimators.common_grid([([10, 20, 30], [0.0, 1.0, 2.0]), ([20, 40], [5.0, 9.0])])
    np.testing.assert_allclose(grid, [20, 30])
    np.testing.assert_allclose(returns, [[1.0, 2.0], [5.0, 7.0]])


def test_improvement_is_the_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, size=7).astype(float), rng.integers(0, 4, size=5).astype(float)
    assert estimators.improvement(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 35)
    wins = np.mean([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
    assert estimators.improvement(x, y) == pytest.approx(wins)
