"""A tuned setting against the documented defaults, in numbers: differences of returns with corrected intervals.

In one environment the difference is that of the returns themselves, in several that of normalised returns (random
policy 0, reference 1). Where an environment has no reference, the probability of improvement minus ½ takes its place:
a function of ranks alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from scipy import stats

from sb3_ppo_variants.experiments.stats import estimators as statistics
from sb3_ppo_variants.experiments.stats.estimators import Interval
from sb3_ppo_variants.experiments.stats.references import normalise, reference_pairs
from sb3_ppo_variants.experiments.tuning.trials import Candidate, StudyPlan

POWER = 0.8

Scale = Literal["return", "normalised", "ranks"]
Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A candidate against the defaults, in one environment or over all of them.

    Letters: n runs of the candidate, m of the defaults.

    :param candidate: Name of the candidate
    :param environment: Gymnasium id; ``None`` for the aggregate that decides
    :param scale: What the difference is measured in; see the module
    :param center: IQM of the candidate's returns (mean for n < 4); ``None`` in an aggregate
    :param center_defaults: The same for the defaults
    :param difference: The candidate minus the defaults; above 0 the candidate is better
    :param interval: Its corrected interval; ``None`` where a sample has fewer than 2 runs
    :param improvement: P(a run of the candidate beats a run of the defaults), ties half
    :param improvement_interval: Its corrected interval
    :param detectable: The true difference that the corrected test would find with 80 % probability
    :param n: Runs of the candidate that count, failed ones included; the least over environments
    :param failed: How many of them failed, over all environments
    :param m: Finished runs of the defaults; the least over environments
    :param failed_defaults: Runs of the defaults that failed and are left out, over all environments
    """

    candidate: str
    environment: str | None
    scale: Scale
    center: float | None
    center_defaults: float | None
    difference: float
    interval: Interval | None
    improvement: float
    improvement_interval: Interval | None
    detectable: float | None
    n: int
    failed: int
    m: int
    failed_defaults: int

    @property
    def better(self) -> bool:
        """Whether the corrected interval lies above zero."""
        return self.interval is not None and self.interval.low > 0

    @property
    def worse(self) -> bool:
        """Whether it lies below zero."""
        return self.interval is not None and self.interval.high < 0


def corrected_level(candidates: int) -> float:
    """Level of each of k intervals that hold together with 95 %: 1 − 0.05/k (Bonferroni).

    :param candidates: k ≥ 1
    """
    return 1 - (1 - statistics.CONFIDENCE) / candidates


def detectable_difference(standard_error: float, level: float, power: float = POWER) -> float:
    """(z₁ + z₂)·standard error: the true difference whose interval lies above zero with probability ``power``.

    Normal approximation; z₁ is the quantile of (1 + level)/2, z₂ that of ``power``.

    :param standard_error: Of the estimated difference
    :param level: Confidence level of the two-sided interval
    :param power: Probability of finding it
    :return: In the unit of the standard error
    """
    return float((stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(power)) * standard_error)


def scale_of(plan: StudyPlan) -> Scale:
    """What decides: see the module.

    :param plan: The study
    """
    if len(plan.environments) == 1:
        return "return"
    known = plan.references or reference_pairs(plan.environments)
    return "normalised" if plan.aggregation != "ranks" and set(plan.environments) <= set(known) else "ranks"


def worst_return(plan: StudyPlan, environment: str, candidates: Sequence[Candidate]) -> float | None:
    """What a failed run counts as: the random policy's return, or the worst of all returns there if that is lower.

    :param plan: The study, which may have references of its own
    :param environment: Gymnasium id
    :param candidates: All that were run, the defaults too
    :return: ``None`` when no run finished and the random policy's return is not known
    """
    known = {**reference_pairs([environment]), **plan.references}
    random = [known[environment][0]] if environment in known else []
    return min([*random, *(x for c in candidates for x in c.returns.get(environment, ()))], default=None)


def difference_to_defaults(
    plan: StudyPlan,
    candidate: Candidate,
    defaults: Candidate,
    environments: Sequence[str],
    scale: Scale,
    worst: Mapping[str, float | None],
    level: float,
) -> Difference | None:
    """A candidate against the defaults.

    :param plan: The study
    :param candidate: The candidate
    :param defaults: The defaults; their failed runs are left out
    :param environments: Which of the study's environments: one, or all
    :param scale: What to measure in
    :param worst: Environment → what a failed run of the candidate counts as
    :param level: Confidence level of the intervals
    :return: ``None`` where there is nothing to compare
    """
    pairs = []
    for environment in environments:
        x = list(candidate.returns.get(environment, ()))
        failed = len(candidate.failed.get(environment, ()))
        if failed and (least := worst[environment]) is not None:
            x += [least] * failed
        pairs.append((x, list(defaults.returns.get(environment, ()))))
    if any(not x or not y for x, y in pairs):
        return None
    alone = len(environments) == 1
    difference, interval, error = _estimate(_scaled(plan, pairs, environments, scale), scale, level)
    return Difference(
        candidate.name,
        environments[0] if alone else None,
        scale,
        float(statistics.center(pairs[0][0])) if alone else None,
        float(statistics.center(pairs[0][1])) if alone else None,
        difference,
        interval,
        statistics.mean_improvement(pairs),
        _improvement_interval(pairs, level),
        None if error is None else detectable_difference(error, level),
        min(len(x) for x, _ in pairs),
        sum(len(candidate.failed.get(e, ())) for e in environments),
        min(len(y) for _, y in pairs),
        sum(len(defaults.failed.get(e, ())) for e in environments),
    )


def _scaled(plan: StudyPlan, pairs: Pairs, environments: Sequence[str], scale: Scale) -> Pairs:
    if scale != "normalised":
        return pairs
    known = plan.references or reference_pairs(environments)
    return [
        (normalise(x, e, known).tolist(), normalise(y, e, known).tolist())
        for e, (x, y) in zip(environments, pairs, strict=True)
    ]


def _improvement_interval(pairs: Pairs, level: float) -> Interval | None:
    # Unwidened, 5 % of simulated studies without any difference (10 runs, 5 candidates) had a winner by ranks. The IQM
    # needs no widening: there it was 1 to 4 %, for normal, skewed and two-peaked returns.
    n = min(len(sample) for pair in pairs for sample in pair)
    return statistics.improvement_interval(pairs, statistics.widened_level(level, n)) if n >= 2 else None


def _estimate(pairs: Pairs, scale: Scale, level: float) -> tuple[float, Interval | None, float | None]:
    if scale != "ranks":
        interval = statistics.difference_interval(pairs, level)
        return statistics.mean_difference(pairs), interval, statistics.difference_error(pairs)
    found = _improvement_interval(pairs, level)
    interval = None if found is None else Interval(found.low - 0.5, found.high - 0.5)
    return statistics.mean_improvement(pairs) - 0.5, interval, statistics.improvement_error(pairs)
