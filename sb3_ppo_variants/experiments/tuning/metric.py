"""The metric of a study: what one setting scores, and by how much two settings differ.

A run's final return is the mean of its last 100 training episodes (:mod:`.run`). Per environment the returns of the
seeds are reduced by :func:`.estimators.center` (IQM from 5 seeds on, else the mean). What becomes of several
environments is the metric's: a mean of their returns would be meaningless, so they are normalised or ranked first.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
from scipy import stats

from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.estimators import center
from sb3_ppo_variants.experiments.stats.intervals import Interval
from sb3_ppo_variants.experiments.stats.references import normalise

Returns: TypeAlias = Mapping[str, Sequence[float]]
"""Environment → final return of each seed, in the order of the seeds."""

Pairs: TypeAlias = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Environment → returns of a setting and returns of the setting that it is compared with."""


POWER = 0.8


class EstimatedDifference(NamedTuple):
    """A difference between two settings; the others are ``None`` where a sample has fewer than 2 runs.

    :param difference: Above 0 the first setting is better
    :param interval: Its confidence interval
    :param detectable: See :func:`detectable_difference`
    """

    difference: float
    interval: Interval | None
    detectable: float | None


def detectable_difference(half_width: float, error: float, power: float = POWER) -> float:
    """h + z·e: approximately the true difference whose interval lies above zero with probability ``power``.

    The estimate is assumed to be normal around the true difference, and z is the quantile of ``power``.

    :param half_width: h, half the width of the interval
    :param error: e, standard error of the estimated difference
    :param power: Probability of finding it
    :return: In the unit of the difference
    """
    return half_width + float(stats.norm.ppf(power)) * error


class Metric:
    """The return in the one environment of a study.

    The score is the center of the returns, the difference that of two centers.

    :param environments: Gymnasium ids
    :param references: Environment → (random policy's return, reference return)
    """

    name: ClassVar[str] = "return"
    #: Unit of a difference, in sentences and on an axis.
    unit: ClassVar[str] = "return"
    axis: ClassVar[str] = "return"
    score_axis: ClassVar[str] = "trial score: return"
    #: Title of the line of a table that holds the difference over all environments.
    all_environments: ClassVar[str] = "all"
    score_description: ClassVar[str] = (
        "the final return (mean of the last 100 training episodes), IQM over the tuning seeds, mean below 5"
    )
    difference_note: ClassVar[str | None] = None
    #: Whether a score depends on which other trials there are.
    relative: ClassVar[bool] = False

    def __init__(self, environments: Sequence[str], references: Mapping[str, tuple[float, float]]):
        self.environments, self.references = tuple(environments), references

    def score(self, returns: Returns, others: Sequence[Returns]) -> float:
        """The score of a trial; higher is better.

        :param returns: Its final returns
        :param others: Those of the other trials, for a metric that is relative to them
        """
        return float(center(returns[self.environments[0]]))

    def scores(self, trials: Sequence[Returns]) -> list[float]:
        """The scores of all finished trials of a study.

        :param trials: Their final returns
        :return: One score per trial
        """
        return [self.score(t, [*trials[:i], *trials[i + 1 :]]) for i, t in enumerate(trials)]

    def difference(self, pairs: Pairs, level: float) -> EstimatedDifference:
        """By how much a setting is better than another one, as a mean over environments.

        :param pairs: The returns of both
        :param level: Confidence level of the interval
        """
        samples = self._scaled(pairs)
        interval, error = estimators.difference_interval(samples, level), estimators.difference_error(samples)
        detectable = None
        if interval is not None and error is not None:
            detectable = detectable_difference((interval.high - interval.low) / 2, error)
        return EstimatedDifference(estimators.mean_difference(samples), interval, detectable)

    def scales(self) -> list[str]:
        """The scale of each environment in words, where returns are put on one."""
        return []

    def _scaled(self, pairs: Pairs) -> list[tuple[Sequence[float], Sequence[float]]]:
        return list(pairs.values())


class NormalisedMetric(Metric):
    """The mean over environments of normalised returns, where each environment has a reference.

    A return is normalised to (return − random) / (reference − random), see :func:`.references.normalise`.
    """

    name = "normalised"
    unit = "normalised score (random policy 0, reference 1)"
    axis = "normalised score"
    score_axis = "trial score: normalised return"
    all_environments = "all, normalised"
    score_description = (
        "the mean over environments of normalised final returns (random policy 0, reference 1), IQM over the tuning "
        "seeds, mean below 5"
    )
    difference_note = "Over all environments: mean of normalised returns, random policy 0 and reference 1 in each."

    def score(self, returns: Returns, others: Sequence[Returns]) -> float:
        scaled = [normalise(returns[e], e, self.references) for e in self.environments]
        return float(np.mean([center(z) for z in scaled]))

    def scales(self) -> list[str]:
        return [f"{e}: random policy {r:g}, reference {y:g}" for e, (r, y) in self.references.items()]

    def _scaled(self, pairs: Pairs) -> list[tuple[Sequence[float], Sequence[float]]]:
        return [
            (normalise(x, e, self.references).tolist(), normalise(y, e, self.references).tolist())
            for e, (x, y) in pairs.items()
        ]


class RankMetric(Metric):
    """Ranks, for several environments without a common scale.

    The score is the mean over environments of the fraction of the other trials whose center is lower, ties counting
    half. It depends on which others there are: the ledger keeps the score among the trials that had finished when the
    trial itself had; the sampler and the report see the scores among all that have finished by then. The difference is
    the probability of improvement minus ½.
    """

    name = "ranks"
    unit = "P(better) − ½"
    axis = "P(better)"
    score_axis = "trial score: share of trials beaten"
    all_environments = "all, P(better) − ½"
    score_description = "the mean over environments of the share of trials that a trial beats"
    difference_note = "Over all environments: mean of P(better) − ½, for returns without a common scale."
    relative = True

    def score(self, returns: Returns, others: Sequence[Returns]) -> float:
        if not others:
            return 0.5
        shares = [_beaten(returns[e], [other[e] for other in others]) for e in self.environments]
        return float(np.mean(shares))

    def scores(self, trials: Sequence[Returns]) -> list[float]:
        # The same scores, with each center computed once instead of once per pair of trials.
        if len(trials) < 2:
            return [0.5] * len(trials)
        x = np.array([[center(t[e]) for e in self.environments] for t in trials])
        beaten = ((x[:, None] > x).sum(1) + 0.5 * ((x[:, None] == x).sum(1) - 1)) / (len(trials) - 1)
        return [float(np.mean(shares)) for shares in beaten]

    def difference(self, pairs: Pairs, level: float) -> EstimatedDifference:
        samples = list(pairs.values())
        found, error = estimators.improvement_interval(samples, level), estimators.improvement_error(samples)
        interval = None if found is None else Interval(found.low - 0.5, found.high - 0.5)
        # Where an interval just reaches ½ it is as wide as without any difference.
        z = float(stats.norm.ppf((1 + level) / 2))
        detectable = None if error is None else detectable_difference(z * error, error)
        return EstimatedDifference(estimators.mean_improvement(samples) - 0.5, interval, detectable)


METRICS: Mapping[str, type[Metric]] = {m.name: m for m in (Metric, NormalisedMetric, RankMetric)}


def choose_metric(environments: Sequence[str], references: Mapping[str, tuple[float, float]]) -> Metric:
    """The metric that can combine the returns of these environments.

    :param environments: Gymnasium ids
    :param references: Environment → (random, reference), for those that have one
    """
    if len(environments) == 1:
        return Metric(environments, references)
    known = all(e in references for e in environments)
    return NormalisedMetric(environments, references) if known else RankMetric(environments, references)


def _beaten(returns: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    x, ys = float(center(returns)), [float(center(y)) for y in others]
    return sum(1.0 if x > y else 0.5 if x == y else 0.0 for y in ys) / len(ys)
