"""Statistics against cases worked by hand."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.stats import aggregates, estimators, intervals


def test_center_is_the_mean_below_five_runs() -> None:
    assert estimators.center([1.0, 2.0, 9.0]) == pytest.approx((1 + 2 + 9) / 3)
    assert estimators.center([0.0, 1.0, 3.0, 100.0]) == pytest.approx(104 / 4)
    assert [estimators.center_name(n) for n in (4, 5)] == ["mean", "IQM"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([-50.0, 1.0, 2.0, 6.0, 100.0], (1 + 2 + 6) / 3),  # ⌊5/4⌋ = 1 cut at each end
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 9.0], (1 + 2 + 3 + 4) / 4),  # two of eight cut at each end
    ],
)
def test_center_is_the_interquartile_mean_from_five_runs(scores: list[float], expected: float) -> None:
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
    level = intervals.widened_level(0.9, 8)
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
    pair = [([0.0, 2.0], [10.0, 14.0])]
    assert estimators.difference_error(pair) == pytest.approx(np.sqrt(2**2 / 4 + 4**2 / 4), rel=0.03)  # s²/n
    assert estimators.difference_error([([0.0], [1.0, 2.0])]) is None


@pytest.mark.parametrize(("n", "m"), [(10, 9), (6, 5), (4, 3)])
def test_runs_that_are_all_equal_do_not_differ_however_many_they_are(n: int, m: int) -> None:
    pairs = [([0.955] * n, [0.955] * m), ([0.7] * m, [0.7] * n)]
    assert estimators.mean_difference(pairs) == 0
    interval = estimators.difference_interval(pairs)
    assert interval is None or interval == (0, 0)
    found = aggregates.difference_of_means(pairs, 0.95)
    assert found.value == 0
    assert found.interval is None or found.interval == (0, 0)


def test_one_huge_run_takes_no_digits_from_the_others() -> None:
    x, y = [-1e20, 10.0, 11.0, 12.0, 13.0, 14.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert estimators.mean_difference([(x, y)]) == pytest.approx(9.0)  # the huge one is trimmed
    assert estimators.mean_difference([(y, x)]) == pytest.approx(-9.0)


def test_the_difference_of_few_runs_is_welchs() -> None:
    x, y = [1.0, 4.0, 2.0], [9.0, 5.0, 6.0, 6.5, 30.0, 7.0]  # means of both, since one has three runs
    assert estimators.mean_difference([(x, y)]) == pytest.approx(np.mean(x) - np.mean(y))
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.99)
    assert estimators.difference_interval([(x, y)], 0.99) == pytest.approx(tuple(expected))


def test_the_difference_over_environments_has_satterthwaites_degrees_of_freedom() -> None:
    rng = np.random.default_rng(6)
    pairs = [(rng.normal(size=3), 5 * rng.normal(size=4)) for _ in range(3)]
    variances = np.array([[x.var(ddof=1) / 3, y.var(ddof=1) / 4] for x, y in pairs]) / 3**2
    degrees = variances.sum() ** 2 / (variances**2 / [2, 3]).sum()
    half = stats.t.ppf(0.975, degrees) * np.sqrt(variances.sum())
    value = estimators.mean_difference(pairs)
    assert estimators.difference_interval(pairs) == pytest.approx((value - half, value + half))


def test_means_have_students_interval() -> None:
    x = [3.0, 4.0, 8.0]
    expected = stats.t.interval(0.95, 2, loc=5, scale=stats.sem(x))
    assert estimators.center_interval(x) == pytest.approx(expected)
    assert intervals.t_interval([[1.0, 1.0], [3.0, 3.0]], [0.5, 0.5]) == (2.0, 2.0)  # nothing varies


def test_few_runs_have_the_widened_bootstrap_over_all_resamples() -> None:
    x, y = np.array([1.0, 2.0, 4.0, 7.0, 20.0]), np.array([3.0, 0.0, 9.0, 5.0, 1.0])
    drawn = np.array(list(itertools.product(range(5), repeat=5)))
    iqm_x, iqm_y = (np.sort(sample[drawn], axis=1)[:, 1:4].mean(axis=1) for sample in (x, y))

    def ends(values: np.ndarray, level: float) -> list[float]:
        return list(np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf"))

    found = estimators.center_interval(x)
    assert found == pytest.approx(ends(iqm_x, intervals.widened_level(0.95, 5)))
    for confidence in (0.95, 0.99):
        level = intervals.widened_level(confidence, 5, intervals.freedom([x, y], [1, 1]))
        found = estimators.difference_interval([(x, y)], confidence)
        assert found == pytest.approx(ends(np.subtract.outer(iqm_x, iqm_y).ravel(), level))


def test_runs_that_do_not_overlap_are_not_told_apart_at_every_level() -> None:
    x, y = np.array([6.0, 6.4, 7.1, 7.5, 9.0]), np.array([1.0, 2.1, 2.5, 4.0, 5.5])
    drawn = np.array(list(itertools.product(range(5), repeat=5)))
    variances = [np.sort(sample[drawn], axis=1)[:, 1:4].mean(axis=1).var() for sample in (x, y)]
    error = np.sqrt(5 / 4 * sum(variances))
    assert estimators.least_p([(x, y)]) == pytest.approx(1 / 126)  # 0.05/6 > 1/126 > 0.05/7
    found = [estimators.difference_interval([(x, y)], intervals.corrected_level(k)) for k in (1, 6, 7, 36, 10_000)]
    assert all(narrow is not None and narrow.low > 0 for narrow in found[:2])
    degrees = intervals.freedom([x, y], [1, 1])
    for comparisons, interval in zip((36, 10_000), found[3:], strict=True):
        half = stats.t.ppf(1 - 0.025 / comparisons, degrees) * error
        difference = x[1:4].mean() - y[1:4].mean()
        assert interval == pytest.approx((difference - half, difference + half), rel=0.02)  # 9999 resamples
    assert found[-1] is not None
    assert found[-1].low < 0
    lows = [interval.low for interval in found if interval is not None]
    assert lows == sorted(lows, reverse=True)  # the more comparisons, the wider


def test_the_more_is_wanted_the_more_resamples_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def draw(_: Any, __: Any, level: float, resamples: int) -> Any:
        drawn.append(resamples)
        assert resamples * (1 - level) / 2 >= 8.9
        return SimpleNamespace(confidence_interval=(0.0, 1.0))

    monkeypatch.setattr(intervals, "bootstrap", draw)
    x, y = np.random.default_rng(4).normal(size=(2, 10))
    for comparisons in (1, 10, 15, 45):
        estimators.difference_interval([(x, y)], intervals.corrected_level(comparisons))
    assert drawn[0] == intervals.RESAMPLES < drawn[1] < drawn[2] < drawn[3] < intervals.MOST_DRAWN


def test_intervals_need_two_runs() -> None:
    assert estimators.center_interval([1.0]) is None
    assert estimators.improvement_interval([([1.0, 2.0], [1.0])]) is None
    assert estimators.improvement_interval([([1.0, 2.0], [1.0, 2.0]), ([1.0], [1.0, 2.0])]) is None


@pytest.mark.parametrize("runs", [2, 3, 5, 10])
def test_the_interval_of_p_better_is_never_a_point(runs: int) -> None:
    low, high = np.arange(runs), np.arange(runs) + 100.0
    for pairs in ([(high, low)], [(low, high)], [(low, low * 0)], [(low * 0, low * 0)], [(high, low), (high, low)]):
        found = estimators.improvement_interval(pairs)
        assert found is not None
        assert 0 <= found.low < estimators.mean_improvement(pairs) + 1e-12
        assert found.low + 0.05 < found.high <= 1


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 6), (10, 10)])
def test_the_interval_of_p_better_excludes_a_half_where_the_exact_test_rejects(n: int, m: int) -> None:
    for wins in range(n * m + 1):  # the first of x beats all it can, then the next: U is the number of wins
        beaten = [min(m, max(0, wins - i * m)) for i in range(n)]
        x = [b - 0.5 + 1e-3 * i for i, b in enumerate(beaten)]
        sample = [(x, np.arange(m, dtype=float))]
        found = estimators.improvement_interval(sample)
        assert found is not None
        assert estimators.mean_improvement(sample) == pytest.approx(wins / (n * m))
        excluded = not found.low <= 0.5 <= found.high
        p = estimators.improvement_p(sample)
        assert excluded == (p < 0.05) or 0.04 < p < 0.06


def test_p_values_by_hand() -> None:
    # 20 ways to divide six runs; two of them are as far apart as these.
    apart = [([4.0, 5.0, 6.0], [1.0, 2.0, 3.0])]
    assert estimators.improvement_p(apart) == estimators.least_p(apart) == pytest.approx(2 / 20)
    assert estimators.least_p([*apart, *apart]) == pytest.approx(2 / 400)
    assert estimators.improvement_p([*apart, *apart]) == pytest.approx(2 / 400, abs=0.003)  # 9999 random divisions
    assert estimators.improvement_p([*apart, (apart[0][1], apart[0][0])]) == pytest.approx(1)
    assert estimators.improvement_p([([1.0, 1.0], [1.0, 1.0])]) == pytest.approx(1)
    # Of the 20 divisions, three have the 3 and two of the 2s on one side, and three both 1s and a 2.
    assert estimators.improvement_p([([3.0, 2.0, 2.0], [2.0, 1.0, 1.0])]) == pytest.approx(6 / 20, abs=0.01)
    assert estimators.improvement_p([([1.0], [1.0])]) == pytest.approx(1)


def test_intervals_repeat() -> None:
    scores = [1.0, 5.0, 2.0, 8.0, 3.0]
    assert estimators.center_interval(scores) == estimators.center_interval(scores)


def test_mean_ranks() -> None:
    # Environment 1: 30 > 20 > 10, ranks 3 2 1. Environment 2: 5 = 5 > 1, ranks 1.5 1.5 3.
    ranks = estimators.mean_ranks([[10.0, 20.0, 30.0], [5.0, 5.0, 1.0]])
    np.testing.assert_allclose(ranks, [(3 + 1.5) / 2, (2 + 1.5) / 2, (1 + 3) / 2])


def test_resampled_centers_have_the_variance_of_the_mean() -> None:
    x, y = np.array([1.0, 5.0, 9.0]), np.array([2.0, 2.5, 4.0])
    drawn = estimators.resampled_centers([[x, y], [y, x]], resamples=20_000)
    assert drawn is not None
    assert drawn.shape == (20_000, 2, 2)  # resamples, environments, algorithms
    np.testing.assert_allclose(drawn.mean(axis=0), [[5, y.mean()], [y.mean(), 5]], rtol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0)[:, 0], [stats.sem(x), stats.sem(y)], rtol=0.03)
    assert estimators.resampled_centers([[x], [[1.0]]]) is None


def test_rank_spread_by_hand() -> None:
    # Three resamples in one environment: the order is 1 2 3, 1 2 3, and a tie of the first two.
    found = estimators.rank_spread([[[3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0]], [[2.0, 2.0, 1.0]]])
    np.testing.assert_allclose(found.first, [2.5 / 3, 0.5 / 3, 0])
    assert found.intervals == [(1, 1.5), (1.5, 2), (3, 3)]


def test_curve_band() -> None:
    mean, low, high = estimators.curve_band([[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(mean, [1.0, 0.5])
    half = stats.t.ppf(0.975, 1) * 0.5
    np.testing.assert_allclose(low, [1.0, 0.5 - half])
    np.testing.assert_allclose(high, [1.0, 0.5 + half])
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
