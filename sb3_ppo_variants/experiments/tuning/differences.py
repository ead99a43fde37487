"""A tuned setting against the documented defaults, in numbers: differences of returns with corrected intervals.

In one environment the difference is that of the returns, over several environments that of the study's metric.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.intervals import Interval
from sb3_ppo_variants.experiments.stats.references import reference_pairs
from sb3_ppo_variants.experiments.tuning.metric import Metric
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate


@dataclasses.dataclass(frozen=True)
class Difference:
    """A candidate against the defaults, in one environment or over all of them.

    Letters: n runs of the candidate, m of the defaults.

    :param candidate: Name of the candidate
    :param environment: Gymnasium id; ``None`` for the aggregate that decides
    :param metric: What the difference is measured by
    :param center: IQM of the candidate's returns (mean for n < 5); ``None`` in an aggregate
    :param center_defaults: The same for the defaults
    :param difference: The candidate minus the defaults; above 0 the candidate is better
    :param level: Confidence level of the intervals
    :param interval: Its corrected interval; ``None`` where a sample has fewer than 2 runs
    :param improvement: P(a run of the candidate beats a run of the defaults), ties half
    :param improvement_interval: Its corrected interval
    :param detectable: The true difference that the corrected test would find with 80 % probability; ``None`` where a
        sample has fewer than 2 runs
    :param n: Runs of the candidate that count, failed ones included; the least over environments
    :param failed: How many of them failed, over all environments
    :param m: Finished runs of the defaults; the least over environments
    :param failed_defaults: Runs of the defaults that failed and are left out, over all environments
    """

    candidate: str
    environment: str | None
    metric: Metric
    center: float | None
    center_defaults: float | None
    difference: float
    level: float
    interval: Interval | None
    improvement: float
    improvement_interval: Interval | None
    detectable: float | None
    n: int
    failed: int
    m: int
    failed_defaults: int

    @property
    def lower_limit(self) -> float:
        """Lower end of the corrected interval; −∞ without one."""
        return -math.inf if self.interval is None else self.interval.low

    @property
    def better(self) -> bool:
        """Whether the corrected interval lies above zero."""
        return self.lower_limit > 0

    @property
    def worse(self) -> bool:
        """Whether it lies below zero."""
        return self.interval is not None and self.interval.high < 0


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
    candidate: Candidate,
    defaults: Candidate,
    metric: Metric,
    worst: Mapping[str, float | None],
    level: float,
) -> Difference | None:
    """A candidate against the defaults, in the environments of a metric.

    :param candidate: The candidate
    :param defaults: The defaults; their failed runs are left out
    :param metric: What to measure by: the study's, or the return in one environment
    :param worst: Environment → what a failed run of the candidate counts as
    :param level: Confidence level of the intervals
    :return: ``None`` where there is nothing to compare
    """
    pairs = {}
    for environment in metric.environments:
        x = list(candidate.returns.get(environment, ()))
        failed = len(candidate.failed.get(environment, ()))
        if failed and (least := worst[environment]) is not None:
            x += [least] * failed
        pairs[environment] = (x, list(defaults.returns.get(environment, ())))
    samples = list(pairs.values())
    if any(not x or not y for x, y in samples):
        return None
    alone = metric.environments[0] if len(metric.environments) == 1 else None
    difference, interval, detectable = metric.difference(pairs, level)
    return Difference(
        candidate.name,
        alone,
        metric,
        float(estimators.center(samples[0][0])) if alone else None,
        float(estimators.center(samples[0][1])) if alone else None,
        difference,
        level,
        interval,
        estimators.mean_improvement(samples),
        estimators.improvement_interval(samples, level),
        detectable,
        min(len(x) for x, _ in samples),
        sum(len(candidate.failed.get(e, ())) for e in metric.environments),
        min(len(y) for _, y in samples),
        sum(len(defaults.failed.get(e, ())) for e in metric.environments),
    )
