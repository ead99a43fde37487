"""Statistics of scores, computed with SciPy. No tables and no plots here.

Letters: n runs (seeds) of one algorithm in one environment, m of the reference, E environments, A algorithms,
T points of a learning curve, R resamples.

Source of the choices: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv:2108.13264 (interquartile mean, probability of improvement). Unlike there, intervals are made for few runs: see
:mod:`.intervals`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from sb3_ppo_variants.experiments.stats.intervals import (
    CONFIDENCE,
    SEED,
    Interval,
    bootstrap,
    bootstrap_interval,
    freedom,
    relative_width,
    t_interval,
)

IQM_LEAST = 5  # with 4 runs only two would be left, and their spread says little
FEW = 10  # with fewer runs intervals depend on how returns are distributed

Array = NDArray[np.float64]
Pairs = Sequence[tuple[ArrayLike, ArrayLike]]


def center_name(n: int) -> str:
    """What :func:`center` computes for n runs: ``"IQM"`` or ``"mean"``.

    :param n: Number of runs
    """
    return "IQM" if n >= IQM_LEAST else "mean"


def center(scores: ArrayLike, axis: int = -1) -> Any:
    """Interquartile mean: the mean without the ⌊n/4⌋ lowest and the ⌊n/4⌋ highest; the plain mean for n < 5.

    :param scores: (..., n)
    :param axis: The axis of the runs
    :return: (...)
    """
    x = np.asarray(scores, dtype=np.float64)
    return _center_of(x.shape[axis])(x, axis=axis)


def _center_of(n: int) -> Callable[..., Any]:
    return _iqm if n >= IQM_LEAST else np.mean


def _iqm(scores: Any, axis: int = -1) -> Any:
    return stats.trim_mean(scores, 0.25, axis=axis)


def center_interval(scores: ArrayLike, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of :func:`center`: Student's t for a mean, the widened bootstrap for an interquartile mean.

    :param scores: (n,)
    :param confidence: Level
    :return: The interval; ``None`` for n < 2
    """
    if np.size(scores) < IQM_LEAST:
        return t_interval([scores], [1.0], confidence)
    return _interval(bootstrap_interval([scores], center, confidence))


def improvement(scores: ArrayLike, reference: ArrayLike) -> float:
    """Probability that a run of the algorithm beats a run of the reference, P(X > Y) + P(X = Y) / 2 = U / (n·m).

    U is the Mann-Whitney statistic.

    :param scores: X, (n,)
    :param reference: Y, (m,)
    :return: Between 0 and 1; 0.5 means no difference
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    return float(0.5 + np.sign(x[:, None] - y).mean() / 2)


def mean_improvement(pairs: Pairs) -> float:
    """Mean over environments of :func:`improvement`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: Between 0 and 1
    """
    return float(np.mean([improvement(x, y) for x, y in pairs]))


def improvement_interval(pairs: Pairs, confidence: float = CONFIDENCE) -> Interval | None:
    """Score interval of :func:`mean_improvement`: all θ with |θ̂ − θ| ≤ z·√V(θ) + a continuity correction.

    V(θ) = θ(1 − θ)/E² · Σ [1 + N·(1 − θ)/(2 − θ) + N·θ/(1 + θ)]/(m·n) with N = (m + n)/2 − 1, the sum over
    environments; the correction is half a step of θ̂, 1/(2·Σ m·n). At θ = ½, V is the variance of U/(m·n) when both
    are distributed alike, so the interval excludes ½ just when the Mann-Whitney test rejects that (by its normal
    approximation with continuity correction). It is never a point.
    Newcombe (2006), "Confidence Intervals for an Effect Size Measure Based on the Mann-Whitney Statistic. Part 2",
    Statistics in Medicine 25, method 5, with the correction added.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :param confidence: Level
    :return: The interval; ``None`` if a sample has n < 2
    """
    if _least(pairs) < 2:
        return None
    z, theta = float(stats.norm.ppf((1 + confidence) / 2)), mean_improvement(pairs)
    step = 0.5 / sum(np.size(x) * np.size(y) for x, y in pairs)

    def lower_end(estimate: float) -> float:
        if estimate <= step:
            return 0.0

        def excess(t: float) -> float:
            return estimate - t - step - z * math.sqrt(_improvement_variance(pairs, t))

        return float(optimize.brentq(excess, 0.0, estimate))

    return Interval(lower_end(theta), 1 - lower_end(1 - theta))


def relative_improvement_width(pairs: Pairs, more: int, confidence: float = CONFIDENCE) -> float:
    """How wide :func:`improvement_interval` around ½ is with ``more`` runs of each, relative to one of as many as here.

    :param pairs: E pairs (scores of the algorithm, scores of the reference), of n ≥ 2 runs each
    :param more: Runs of each
    :param confidence: Level
    """
    now = [(np.zeros(np.size(x)), np.zeros(np.size(y))) for x, y in pairs]
    then = [(np.zeros(more), np.zeros(more))] * len(pairs)
    widths = [high - low for low, high in filter(None, (improvement_interval(p, confidence) for p in (then, now)))]
    return widths[0] / widths[1]


def improvement_error(pairs: Pairs) -> float | None:
    """Standard error of :func:`mean_improvement` when nothing differs, √(Σ (m + n + 1)/(12·m·n))/E.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: The error; ``None`` if a sample has n < 2
    """
    return None if _least(pairs) < 2 else math.sqrt(_improvement_variance(pairs, 0.5))


def _improvement_variance(pairs: Pairs, theta: float) -> float:
    """V(θ) of :func:`improvement_interval`."""
    total = 0.0
    for x, y in pairs:
        n, m = np.size(x), np.size(y)
        half = (n + m) / 2 - 1
        total += (1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)) / (n * m)
    return theta * (1 - theta) * total / len(pairs) ** 2


def improvement_p(pairs: Pairs) -> float:
    """Two-sided p-value of the hypothesis that in each environment both have the same distribution.

    One environment without ties: the exact Mann-Whitney test. Otherwise the permutation test of the mean over
    environments of U/(n·m), in which 9999 times runs change sides within each environment. Van Elteren's test has the
    same strata, but weights them by size; here environments have equal weight.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    """
    x, y = (np.asarray(s, dtype=np.float64) for s in pairs[0])
    ties = len(np.unique([*x, *y])) < x.size + y.size
    if ties or len(pairs) > 1:
        return _stratified_p(pairs)
    return float(stats.mannwhitneyu(x, y, method="exact").pvalue)


def _stratified_p(pairs: Pairs, resamples: int = 9999) -> float:
    rng, total = np.random.default_rng(SEED), np.zeros(resamples)
    for x, y in pairs:
        n, m = np.size(x), np.size(y)
        ranks = np.tile(stats.rankdata([*np.ravel(x), *np.ravel(y)]), (resamples, 1))
        u = rng.permuted(ranks, axis=1)[:, :n].sum(axis=1) - n * (n + 1) / 2
        total += u / (n * m) / len(pairs)
    as_far = np.abs(total - 0.5) >= abs(mean_improvement(pairs) - 0.5) - 1e-9
    return float((as_far.sum() + 1) / (resamples + 1))


def least_p(pairs: Pairs) -> float:
    """The smallest p-value that an exact test by ranks can give, 2/Π C(n + m, n): 0.10 for 3 runs against 3.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    """
    return min(1.0, 2 / math.prod(math.comb(np.size(x) + np.size(y), np.size(x)) for x, y in pairs))


def mean_difference(pairs: Pairs) -> float:
    """Mean over environments of the difference of centers, which are interquartile means if all samples have n ≥ 5 runs
    and else means.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: In the unit of the scores
    """
    return float(_difference(pairs)(*_flat(pairs)))


def difference_interval(pairs: Pairs, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of :func:`mean_difference`: Welch's t over all environments for means, else the widened bootstrap.

    Where two samples do not overlap, no resample reaches zero, so the bootstrap's interval excludes it at any level.
    Beyond the level 1 − :func:`least_p`, that is, from seven comparisons of five runs against five on, the interval
    also covers everything within t·:func:`difference_error` of the difference, with the degrees of freedom of
    :func:`.freedom`. For many runs that are all equal it is a point.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :param confidence: Level, for example that of :func:`.corrected_level` for k intervals
    :return: The interval; ``None`` if a sample has n < 2, or :func:`spread_unknown`
    """
    samples, signs = _flat(pairs), _signs(pairs)
    if spread_unknown(pairs, confidence):
        return None
    if _least(pairs) < IQM_LEAST:
        return t_interval(samples, signs, confidence)
    low, high = map(float, bootstrap_interval(samples, _difference(pairs), confidence))
    if 1 - confidence < least_p(pairs):
        t = float(stats.t.ppf((1 + confidence) / 2, freedom(samples, signs)))
        value, half = mean_difference(pairs), t * (difference_error(pairs) or 0.0)
        low, high = min(low, value - half), max(high, value + half)
    return Interval(low, high)


def spread_unknown(pairs: Pairs, confidence: float) -> bool:
    """Whether the runs of each sample are all equal, and too few for a test by ranks to reject at 1 − confidence.

    Returns that take few values, as rates of success do, are often equal by chance in 2 or 3 runs. Intervals from
    their variance would then be points, which exclude zero at any level.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :param confidence: Level of the interval
    """
    return not any(np.ptp(sample) for sample in _flat(pairs)) and 1 - confidence < least_p(pairs)


def relative_difference_width(pairs: Pairs, more: int, confidence: float = CONFIDENCE) -> float:
    """How wide :func:`difference_interval` would be with ``more`` runs of each, relative to what it is, by means.

    :param pairs: E pairs (scores of the algorithm, scores of the reference), of n ≥ 2 runs each
    :param more: Runs of each
    :param confidence: Level
    """
    return relative_width(_flat(pairs), _signs(pairs), more, confidence)


def difference_error(pairs: Pairs) -> float | None:
    """Standard error of :func:`mean_difference`, that of the bootstrap times √(n/(n − 1)), n of the smallest sample.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: The error, in the unit of the scores; ``None`` if a sample has n < 2
    """
    found, n = bootstrap(_flat(pairs), _difference(pairs)), _least(pairs)
    return None if found is None else math.sqrt(n / (n - 1)) * float(found.standard_error)


def _difference(pairs: Pairs) -> Callable[..., Array]:
    of = _center_of(_least(pairs))

    def statistic(*samples: ArrayLike, axis: int = -1) -> Array:
        each = zip(samples[::2], samples[1::2], strict=True)
        return np.asarray(np.mean([of(x, axis=axis) - of(y, axis=axis) for x, y in each], axis=0))

    return statistic


def _signs(pairs: Pairs) -> Array:
    return np.tile([1.0, -1.0], len(pairs)) / len(pairs)


def _flat(pairs: Pairs) -> list[Array]:
    return [sample for pair in pairs for sample in equal_as_zeros(pair)]


def equal_as_zeros(pair: tuple[ArrayLike, ArrayLike]) -> list[Array]:
    """The two samples, zeros if all runs are equal: the means of five and of six equal numbers may differ in the last
    bit.

    :param pair: Scores of the algorithm, scores of the reference
    """
    data = [np.asarray(sample, dtype=np.float64) for sample in pair]
    return data if np.ptp(np.concatenate(data)) else [np.zeros_like(sample) for sample in data]


def from_common_run(samples: Sequence[ArrayLike]) -> list[Array]:
    """Samples minus a median run, for ranks, which do not depend on it: those that are all equal have equal means.

    :param samples: Samples (n,) of one environment
    """
    data = [np.asarray(sample, dtype=np.float64) for sample in samples]
    runs = np.sort(np.concatenate(data))
    return [sample - runs[runs.size // 2] for sample in data]


def from_common_runs(variants: Sequence[Sequence[ArrayLike]]) -> list[tuple[Array, ...]]:
    """:func:`from_common_run` in each environment.

    :param variants: A variants of E samples (n,) each
    """
    return list(zip(*(from_common_run(of_all) for of_all in zip(*variants, strict=True)), strict=True))


def _least(pairs: Pairs) -> int:
    return min(np.size(sample) for sample in _flat(pairs))


def mean_ranks(scores: ArrayLike) -> Array:
    """Mean over environments of each algorithm's rank; 1 is the best, ties share the mean of their ranks.

    :param scores: (..., E, A), higher is better
    :return: (..., A)
    """
    return np.asarray(stats.rankdata(-np.asarray(scores, dtype=np.float64), axis=-1).mean(axis=-2))


class RankSpread(NamedTuple):
    """How far the ranks of A algorithms depend on the seeds.

    :param intervals: 95 % interval of each rank
    :param first: Share of resamples in which each is first; algorithms that share the place share it evenly
    """

    intervals: list[Interval]
    first: Array


def rank_spread(resampled: ArrayLike) -> RankSpread:
    """Intervals of :func:`mean_ranks`, and the probability of being first.

    :param resampled: (R, E, A), see :func:`resampled_centers`
    """
    ranks = mean_ranks(resampled)
    ends = np.quantile(ranks, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0, method="closest_observation")
    best = ranks == ranks.min(axis=1, keepdims=True)
    first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return RankSpread([Interval(float(low), float(high)) for low, high in ends.T], first)


def resampled_centers(
    algorithms: Sequence[Sequence[ArrayLike]], statistic: Callable[..., Any] = center, resamples: int = 1999
) -> Array | None:
    """Bootstrap of the center of each algorithm in each environment, each resampled separately.

    Deviations from the center are multiplied by √(n/(n − 1)), since resampling shrinks the variance to (n − 1)/n.

    :param algorithms: A algorithms of E samples (n,) each
    :param statistic: The center, a function of (..., n) and ``axis``
    :param resamples: R
    :return: (R, E, A); ``None`` if a sample has n < 2
    """
    if min(np.size(sample) for samples in algorithms for sample in samples) < 2:
        return None
    rng, found = np.random.default_rng(SEED), []
    for sample in (np.asarray(s, dtype=np.float64) for samples in algorithms for s in samples):
        drawn = statistic(rng.choice(sample, (resamples, sample.size)), axis=-1)
        middle = statistic(sample, axis=-1)
        found.append(middle + np.sqrt(sample.size / (sample.size - 1)) * (drawn - middle))
    return np.reshape(found, (len(algorithms), -1, resamples)).T


def curve_band(curves: ArrayLike) -> tuple[Array, Array, Array]:
    """Mean learning curve over runs with a pointwise 95 % band, Student's t.

    :param curves: (n, T)
    :return: Mean, lower and upper end, (T,) each; for n = 1 the band is the curve itself
    """
    y = np.asarray(curves, dtype=np.float64)
    n, mean = len(y), np.asarray(y.mean(axis=0))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * y.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else 0.0
    return mean, mean - half, mean + half


def common_grid(curves: Sequence[tuple[ArrayLike, ArrayLike]]) -> tuple[Array, Array]:
    """Learning curves of several runs on the grid that all of them cover, by linear interpolation.

    :param curves: n pairs (timesteps, returns), timesteps increasing
    :return: Grid (T,) and returns (n, T)
    """
    xs = [np.asarray(x, dtype=np.float64) for x, _ in curves]
    low, high = max(x[0] for x in xs), min(x[-1] for x in xs)
    grid = np.unique(np.concatenate(xs))
    grid = grid[(grid >= low) & (grid <= high)]
    returns = [np.interp(grid, x, np.asarray(y, dtype=np.float64)) for x, (_, y) in zip(xs, curves, strict=True)]
    return grid, np.stack(returns)


def _interval(found: Any) -> Interval | None:
    return None if found is None else Interval(*map(float, found))
