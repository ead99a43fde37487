"""Scores of several environments as one number: rliable's aggregate metrics, on SciPy.

Letters: E environments, n runs of one variant in one environment, K variants, T thresholds. Scores are normalised.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv:2108.13264. Unlike there, environments may have different numbers of runs, because a comparison can be reported
before it is complete: the interquartile mean pools all runs, mean and median go over the environments' means.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sb3_ppo_variants.experiments.stats.estimators import equal_as_zeros, from_common_runs, spread_unknown
from sb3_ppo_variants.experiments.stats.intervals import (
    RESAMPLES,
    Interval,
    bootstrap,
    bootstrap_interval,
    t_interval,
)

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its interval, of 95 % unless said otherwise; ``None`` if a sample has fewer than 2 runs, or for a
    difference that :func:`.spread_unknown` is true of."""

    value: float
    interval: Interval | None


class Aggregate(NamedTuple):
    """The scores of one variant in E environments.

    :param mean: Mean over environments of the mean over runs
    :param iqm: Interquartile mean: mean of all runs without the lowest and the highest quarter of them
    :param median: Median over environments of the mean over runs
    :param gap: Optimality gap: how far runs are below 1 on average; runs above 1 count as 1
    """

    mean: Estimate
    iqm: Estimate
    median: Estimate
    gap: Estimate


def aggregate(samples: Sequence[ArrayLike]) -> Aggregate:
    """The four aggregate metrics of one variant.

    Mean and gap are means of means, with Satterthwaite's t intervals; the others have widened bootstrap intervals,
    stratified by environment (:mod:`.intervals`).

    :param samples: E samples (n,) of normalised scores
    """
    weights = np.full(len(samples), 1 / len(samples))
    lost = [1 - np.minimum(s, 1.0) for s in samples]
    return Aggregate(
        Estimate(float(mean_score(*samples)), t_interval(samples, weights)),
        _widened(samples, iqm_score),
        _widened(samples, median_score),
        Estimate(float(gap_score(*samples)), t_interval(lost, weights)),
    )


def difference_of_means(pairs: Sequence[tuple[ArrayLike, ArrayLike]], confidence: float) -> Estimate:
    """Difference of :func:`mean_score` of two variants with Welch's t interval over all environments.

    There is no interval where :func:`.spread_unknown`.

    :param pairs: E pairs of samples (n,) of normalised scores
    :param confidence: Level of the interval
    """
    flat = [sample for pair in pairs for sample in equal_as_zeros(pair)]
    value = float(mean_score(*flat[::2]) - mean_score(*flat[1::2]))
    weights = np.tile([1.0, -1.0], len(pairs)) / len(pairs)
    return Estimate(value, None if spread_unknown(pairs, confidence) else t_interval(flat, weights, confidence))


def mean_score(*samples: ArrayLike, axis: int = -1) -> Any:
    """Mean over environments of the mean over runs.

    :param samples: E samples (..., n)
    :param axis: The axis of the runs
    """
    return np.mean(_means(samples, axis), axis=0)


def iqm_score(*samples: ArrayLike, axis: int = -1) -> Any:
    """Mean of all runs together without the ⌊N/4⌋ lowest and the ⌊N/4⌋ highest of them.

    :param samples: E samples (..., n)
    :param axis: The axis of the runs
    """
    pooled = np.concatenate([np.asarray(s, dtype=np.float64) for s in samples], axis=axis)
    return stats.trim_mean(pooled, 0.25, axis=axis)


def median_score(*samples: ArrayLike, axis: int = -1) -> Any:
    """Median over environments of the mean over runs.

    :param samples: E samples (..., n)
    :param axis: The axis of the runs
    """
    return np.median(_means(samples, axis), axis=0)


def gap_score(*samples: ArrayLike, axis: int = -1) -> Any:
    """1 − the mean over environments of the mean over runs of min(score, 1).

    :param samples: E samples (..., n)
    :param axis: The axis of the runs
    """
    return 1.0 - np.mean(_means([np.minimum(s, 1.0) for s in samples], axis), axis=0)


def performance_profile(samples: Sequence[ArrayLike], thresholds: ArrayLike) -> tuple[Array, Array, Array]:
    """Share of runs above each threshold, mean over environments, with a pointwise 95 % bootstrap band.

    :param samples: E samples (n,) of normalised scores
    :param thresholds: (T,)
    :return: Share, lower and upper end, (T,) each; if an environment has fewer than 2 runs, both ends are the share
    """
    grid = np.asarray(thresholds, dtype=np.float64)

    def share(*scores: ArrayLike, axis: int = -1) -> Any:
        above = [(np.asarray(s)[None] > grid.reshape(-1, *[1] * np.ndim(s))).mean(axis=axis) for s in scores]
        return np.mean(above, axis=0)

    found = bootstrap_interval(samples, share, most_drawn=RESAMPLES)  # a band to look at, of many thresholds
    shares = np.asarray(share(*samples))
    low, high = (shares, shares) if found is None else map(np.asarray, found)
    return shares, low, high


class Correlation(NamedTuple):
    """How well two orders of K variants agree.

    :param spearman: Spearman's ρ
    :param kendall: Kendall's τ-b
    :param left_out: Spearman's ρ without each of the variants, (K,); empty for K ≤ 3, where two would be left
    """

    spearman: Estimate
    kendall: Estimate
    left_out: list[float]


def rank_correlation(variants: Sequence[Sequence[ArrayLike]], published: Sequence[float]) -> Correlation:
    """Agreement of the order of the variants' mean scores with a published column.

    Intervals hold 95 % of bootstrap resamples, and are no confidence intervals: both columns are noisy, resampling adds
    as much noise again, and noise makes orders agree less, so the agreement of the true orders may lie above them. Runs
    are resampled within each variant and environment, and deviations from the mean multiplied by √(n/(n − 1)), n of the
    variant's smallest sample. The published runs are not available: their means are moved by as much as a second
    resample moves ours, as if both columns were equally uncertain.

    :param variants: For each of K variants, E samples (n,) of normalised scores
    :param published: K scores
    """
    variants = from_common_runs(variants)
    flat = [sample for samples in variants for sample in samples]
    ends = np.cumsum([len(samples) for samples in variants])
    means, theirs = np.array([mean_score(*own) for own in variants]), np.asarray(published, dtype=np.float64)
    least = np.array([min(np.size(sample) for sample in own) for own in variants])
    spread = np.sqrt(least / np.maximum(least - 1, 1))[:, None]

    def deviations(samples: Sequence[ArrayLike], axis: int) -> Array:
        each = (samples[end - len(own) : end] for own, end in zip(variants, ends, strict=True))
        return np.asarray(spread * (np.stack([mean_score(*own, axis=axis) for own in each]) - means[:, None]))

    def correlation(of_columns: Callable[..., Any]) -> Estimate:
        def statistic(*samples: ArrayLike, axis: int = -1) -> Any:
            ours = means[:, None] + deviations(samples[: len(flat)], axis)
            published = theirs[:, None] + deviations(samples[len(flat) :], axis)
            columns = zip(ours.T, published.T, strict=True)
            return np.array([float(of_columns(one, other).statistic) for one, other in columns])

        found = bootstrap([*flat, *flat], statistic, resamples=999)
        value = float(of_columns(means, theirs).statistic)
        return Estimate(value, None if found is None else Interval(*map(float, found.confidence_interval)))

    others = [np.arange(len(means)) != k for k in range(len(means))] if len(means) > 3 else []
    left_out = [float(stats.spearmanr(means[kept], theirs[kept]).statistic) for kept in others]
    return Correlation(correlation(stats.spearmanr), correlation(stats.kendalltau), left_out)


def _means(samples: Sequence[ArrayLike], axis: int) -> list[Any]:
    return [np.mean(np.asarray(s, dtype=np.float64), axis=axis) for s in samples]


def _widened(samples: Sequence[ArrayLike], statistic: Callable[..., Any]) -> Estimate:
    found = bootstrap_interval(samples, statistic)
    return Estimate(float(statistic(*samples)), None if found is None else Interval(*map(float, found)))
