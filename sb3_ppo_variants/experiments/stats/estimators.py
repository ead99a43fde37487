"""Statistics of scores, computed with SciPy. No tables and no plots here.

Letters: n runs (seeds) of one algorithm in one environment, m of the reference, E environments, A algorithms,
T points of a learning curve.

Source of the choices: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv:2108.13264 (interquartile mean, stratified bootstrap, probability of improvement).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

IQM_LEAST = 4  # with fewer runs a quarter of them is less than one run
CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0

Array = NDArray[np.float64]
Pairs = Sequence[tuple[ArrayLike, ArrayLike]]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def center_name(n: int) -> str:
    """What :func:`center` computes for n runs: ``"IQM"`` or ``"mean"``.

    :param n: Number of runs
    """
    return "IQM" if n >= IQM_LEAST else "mean"


def center(scores: ArrayLike, axis: int = -1) -> Any:
    """Interquartile mean: the mean without the ⌊n/4⌋ lowest and the ⌊n/4⌋ highest; the plain mean for n < 4.

    :param scores: (..., n)
    :param axis: The axis of the runs
    :return: (...)
    """
    x = np.asarray(scores, dtype=np.float64)
    return stats.trim_mean(x, 0.25, axis=axis) if x.shape[axis] >= IQM_LEAST else x.mean(axis=axis)


def center_interval(scores: ArrayLike) -> Interval | None:
    """95 % percentile bootstrap interval of :func:`center`.

    :param scores: (n,)
    :return: The interval; ``None`` for n < 2
    """
    return _interval(bootstrap([scores], center))


def improvement(scores: ArrayLike, reference: ArrayLike, axis: int = -1) -> Any:
    """Probability that a run of the algorithm beats a run of the reference, P(X > Y) + P(X = Y) / 2 = U / (n·m).

    U is the Mann-Whitney statistic.

    :param scores: X, (..., n)
    :param reference: Y, (..., m)
    :param axis: The axis of the runs
    :return: (...), between 0 and 1; 0.5 means no difference
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    # SciPy computes a p-value with U, and divides by a zero variance for it when all scores are equal.
    with np.errstate(divide="ignore", invalid="ignore"):
        u = stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic
    return u / (x.shape[axis] * y.shape[axis])


def _mean_over_environments(compare: Callable[..., Any]) -> Callable[..., Array]:
    """The mean over environments of a comparison of two samples, as a statistic of flattened pairs."""

    def statistic(*samples: ArrayLike, axis: int = -1) -> Array:
        pairs = zip(samples[::2], samples[1::2], strict=True)
        return np.asarray(np.mean([compare(x, y, axis) for x, y in pairs], axis=0))

    return statistic


_improvement = _mean_over_environments(improvement)
_difference = _mean_over_environments(lambda x, y, axis: center(x, axis) - center(y, axis))


def mean_improvement(pairs: Pairs) -> float:
    """Mean over environments of :func:`improvement`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: Between 0 and 1
    """
    return float(_improvement(*_flat(pairs)))


def improvement_interval(pairs: Pairs, confidence: float = CONFIDENCE) -> Interval | None:
    """Percentile bootstrap interval of :func:`mean_improvement`, stratified.

    Runs are resampled within each environment and each algorithm, never across.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :param confidence: Level
    :return: The interval; ``None`` if a sample has n < 2
    """
    return _interval(bootstrap(_flat(pairs), _improvement, confidence))


def improvement_error(pairs: Pairs) -> float | None:
    """Bootstrap standard error of :func:`mean_improvement`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: The error; ``None`` if a sample has n < 2
    """
    return _error(bootstrap(_flat(pairs), _improvement))


def mean_difference(pairs: Pairs) -> float:
    """Mean over environments of center(x) − center(y); see :func:`center`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: In the unit of the scores
    """
    return float(_difference(*_flat(pairs)))


def difference_interval(pairs: Pairs, confidence: float = CONFIDENCE) -> Interval | None:
    """Percentile bootstrap interval of :func:`mean_difference`, stratified as in :func:`improvement_interval`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :param confidence: Level, for example 1 − 0.05/k for the Bonferroni correction of k intervals
    :return: The interval; ``None`` if a sample has n < 2
    """
    return _interval(bootstrap(_flat(pairs), _difference, confidence))


def difference_error(pairs: Pairs) -> float | None:
    """Bootstrap standard error of :func:`mean_difference`.

    :param pairs: E pairs (scores of the algorithm, scores of the reference)
    :return: The error, in the unit of the scores; ``None`` if a sample has n < 2
    """
    return _error(bootstrap(_flat(pairs), _difference))


def _flat(pairs: Pairs) -> list[ArrayLike]:
    return [sample for pair in pairs for sample in pair]


def widened_level(confidence: float, n: int) -> float:
    """Level at which a percentile interval of n values is as wide as Student's t would make it.

    Percentile intervals of few runs are too narrow: resampling shrinks the variance to (n − 1)/n of itself and takes
    normal quantiles. The quantile α/2 is replaced by Φ(−√(n/(n − 1))·t), with t the quantile 1 − α/2 for n − 1
    degrees of freedom. Hesterberg (2015), "What Teachers Should Know about the Bootstrap", arXiv:1411.5279,
    "expanded percentile interval".

    :param confidence: The level wanted, 1 − α
    :param n: Runs of the smallest sample, at least 2
    :return: The level to ask of a percentile interval
    """
    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(1 - 2 * stats.norm.cdf(-np.sqrt(n / (n - 1)) * t))


def mean_ranks(scores: ArrayLike) -> Array:
    """Mean over environments of each algorithm's rank; 1 is the best, ties share the mean of their ranks.

    :param scores: (E, A), higher is better
    :return: (A,)
    """
    return np.asarray(stats.rankdata(-np.asarray(scores, dtype=np.float64), axis=1).mean(axis=0))


def curve_band(curves: ArrayLike) -> tuple[Array, Array, Array]:
    """Mean learning curve over runs with a pointwise 95 % percentile bootstrap band.

    :param curves: (n, T)
    :return: Mean, lower and upper end, (T,) each; for n = 1 the band is the curve itself
    """
    y = np.asarray(curves, dtype=np.float64)
    mean: Array = np.asarray(y.mean(axis=0))
    found = bootstrap([y.T], np.mean)
    low, high = (mean, mean) if found is None else map(np.asarray, found.confidence_interval)
    return mean, low, high


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


def bootstrap(
    samples: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Any:
    """Percentile bootstrap of a statistic of several samples, each of which is resampled separately.

    :param samples: The samples, (..., n) each
    :param statistic: Function of one array (..., n) per sample and ``axis``
    :param confidence: Level of the interval
    :param resamples: Number of resamples
    :return: SciPy's result with ``confidence_interval`` and ``standard_error``; ``None`` if a sample has n < 2, since
        one run says nothing about the spread
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    if min(s.shape[-1] for s in data) < 2:
        return None
    return stats.bootstrap(
        data,
        statistic,
        vectorized=True,
        paired=False,
        axis=-1,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )


def _interval(found: Any) -> Interval | None:
    return None if found is None else Interval(*map(float, found.confidence_interval))


def _error(found: Any) -> float | None:
    return None if found is None else float(found.standard_error)
