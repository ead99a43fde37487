"""Confidence intervals for few runs: Student's and Welch's t for means, the widened bootstrap for other statistics.

How often they cover the truth is tabulated in ``experiments/README.md`` and tested in ``test_coverage.py``.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 9999
MOST_LISTED = 20_000  # resamples up to which all are looked at
MOST_DRAWN = 1_000_000
IN_TAIL = 9  # resamples to draw beyond either end; 9999 leave as many in 95 % intervals of five runs
SEED = 0

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def corrected_level(comparisons: int) -> float:
    """Level of each of k intervals that hold simultaneously with 95 %: 1 − 0.05/k (Bonferroni).

    :param comparisons: k ≥ 1
    """
    return 1 - (1 - CONFIDENCE) / comparisons


def t_interval(samples: Sequence[ArrayLike], weights: ArrayLike, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of a weighted sum of means, Σ wᵢ·μᵢ, of independent samples with unequal variances.

    Σ wᵢ·x̄ᵢ ± t·√V with V = Σ wᵢ²·sᵢ²/nᵢ; t has the degrees of freedom of :func:`freedom`. For one sample this is
    Student's interval, for weights 1 and −1 Welch's.

    :param samples: The samples, (nᵢ,) each
    :param weights: wᵢ, one per sample
    :param confidence: Level
    :return: The interval; ``None`` if a sample has n < 2, since one run says nothing about the spread
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    if min(s.size for s in data) < 2:
        return None
    center = float(np.dot(weights, [s.mean() for s in data]))
    error = float(np.sqrt(np.sum(_variances(data, weights))))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom(data, weights))) * error
    return Interval(center - half, center + half)


def relative_width(
    samples: Sequence[ArrayLike], weights: ArrayLike, more: int, confidence: float = CONFIDENCE
) -> float:
    """How wide :func:`t_interval` would be with ``more`` runs in each sample, relative to what it is.

    (t'·√V')/(t·√V), with V' and the degrees of freedom of t' for ``more`` runs that spread as those at hand.

    :param samples: The samples, (nᵢ,) each, nᵢ ≥ 2, of which one varies
    :param weights: wᵢ, one per sample
    :param more: Runs of each sample
    :param confidence: Level
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    v = _variances(data, weights)
    projected = v * [s.size / more for s in data]
    degrees = freedom(data, weights), float(projected.sum() ** 2 / np.sum(projected**2 / (more - 1)))
    now, then = (float(stats.t.ppf((1 + confidence) / 2, d)) for d in degrees)
    return then / now * float(np.sqrt(projected.sum() / v.sum()))


def freedom(samples: Sequence[ArrayLike], weights: ArrayLike) -> float:
    """Degrees of freedom of a weighted sum of means: V² / Σ(Vᵢ²/(nᵢ − 1)), Vᵢ = wᵢ²·sᵢ²/nᵢ, V = Σ Vᵢ.

    Satterthwaite (1946), "An Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2(6).

    :param samples: The samples, (nᵢ,) each, nᵢ ≥ 2
    :param weights: wᵢ, one per sample
    :return: Between the smallest nᵢ − 1 and Σ(nᵢ − 1); the former if nothing varies
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    v, n = _variances(data, weights), np.array([s.size for s in data])
    if v.max() == 0:
        return float(n.min() - 1)
    v = v / v.max()  # squares of small variances would vanish
    return float(v.sum() ** 2 / np.sum(v**2 / (n - 1)))


def _variances(samples: Sequence[Array], weights: ArrayLike) -> Array:
    """wᵢ²·sᵢ²/nᵢ of each sample."""
    return np.square(weights) * np.array([s.var(ddof=1) / s.size for s in samples])


def widened_level(confidence: float, n: int, degrees: float | None = None) -> float:
    """Level at which a percentile interval of n values is as wide as Student's t would make it.

    Percentile intervals of few runs are too narrow: resampling shrinks the variance to (n − 1)/n of itself and takes
    normal quantiles. The quantile α/2 is replaced by Φ(−√(n/(n − 1))·t), with t the quantile 1 − α/2. Hesterberg
    (2015), "What Teachers Should Know about the Bootstrap", arXiv:1411.5279, "expanded percentile interval".

    :param confidence: The level wanted, 1 − α
    :param n: Runs of the smallest sample, at least 2
    :param degrees: Degrees of freedom of t, by default n − 1; for several samples see :func:`freedom`
    :return: The level to ask of a percentile interval
    """
    t = stats.t.ppf((1 + confidence) / 2, n - 1 if degrees is None else degrees)
    return float(1 - 2 * stats.norm.cdf(-np.sqrt(n / (n - 1)) * t))


def bootstrap_interval(
    samples: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    confidence: float = CONFIDENCE,
    most_drawn: int = MOST_DRAWN,
) -> Any:
    """Percentile bootstrap interval at the level of :func:`widened_level`, stratified.

    With few runs all resamples are evaluated, each weighted by how often it would be drawn; with more, enough are drawn
    to leave :data:`IN_TAIL` or so beyond either end, and at least 9999. Five runs against five have 126² resamples. One
    sample of five has 126, so that its interval ends at the extremes of its resamples when much more than 95 % is
    wanted.

    :param samples: The samples, (n,) each
    :param statistic: Function of one array (..., n) per sample and ``axis``
    :param confidence: The level wanted
    :param most_drawn: The most resamples to draw
    :return: The lower and the upper end, in the statistic's shape; ``None`` if a sample has n < 2
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    least = min(s.size for s in data)
    if least < 2:
        return None
    level = widened_level(confidence, least, freedom(data, np.ones(len(data))))
    tail = (1 - level) / 2
    if math.prod(math.comb(2 * s.size - 1, s.size) for s in data) > MOST_LISTED:
        resamples = int(min(max(RESAMPLES, IN_TAIL / tail), most_drawn)) if tail else most_drawn
        return Interval(*bootstrap(data, statistic, level, resamples).confidence_interval)
    listed = [_all_resamples(s.size) for s in data]
    chosen = np.indices([len(rows) for rows, _ in listed]).reshape(len(data), -1)
    weights = np.prod([probability[c] for (_, probability), c in zip(listed, chosen, strict=True)], axis=0)
    found = statistic(*(s[rows[c]] for s, (rows, _), c in zip(data, listed, chosen, strict=True)), axis=-1)
    return Interval(_lower_quantile(found, weights, tail), -_lower_quantile(-found, weights, tail))


@functools.cache
def _all_resamples(n: int) -> tuple[NDArray[np.intp], Array]:
    """All choices of n of n runs with replacement, (N, n), and the probability of each, (N,)."""
    rows = list(itertools.combinations_with_replacement(range(n), n))
    ways = [math.factorial(n) / math.prod(map(math.factorial, Counter(row).values())) for row in rows]
    return np.array(rows), np.array(ways) / n**n


def _lower_quantile(values: Array, weights: Array, share: float) -> Any:
    """The smallest of the values (..., N) up to which there is at least this share of the weights (N,)."""
    order = np.argsort(values, axis=-1)
    below = (np.cumsum(weights[order], axis=-1) < share).sum(axis=-1, keepdims=True)
    return np.take_along_axis(values, np.take_along_axis(order, below, axis=-1), axis=-1)[..., 0]


def bootstrap(
    samples: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    confidence: float = CONFIDENCE,
    resamples: int | None = None,
) -> Any:
    """Percentile bootstrap of a statistic of several samples, each of which is resampled separately.

    :param samples: The samples, (..., n) each
    :param statistic: Function of one array (..., n) per sample and ``axis``
    :param confidence: Level of the interval, which is too narrow for few runs: see :func:`bootstrap_interval`
    :param resamples: Number of resamples, by default 9999
    :return: SciPy's result with ``confidence_interval``, ``bootstrap_distribution`` and ``standard_error``; ``None``
        if a sample has n < 2, since one run says nothing about the spread
    """
    data = [np.asarray(s, dtype=np.float64) for s in samples]
    if min(s.shape[-1] for s in data) < 2:
        return None
    return stats.bootstrap(
        data,
        statistic,
        batch=RESAMPLES,
        vectorized=True,
        paired=False,
        axis=-1,
        n_resamples=RESAMPLES if resamples is None else resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
