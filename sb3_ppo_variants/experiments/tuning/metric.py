"""The score of a trial: one function of its final returns, the same while the study runs and in its report.

A run's final return is the mean of its last 100 training episodes (:mod:`.run`). Per environment the returns of the
seeds are reduced by :func:`.statistics.center` (IQM from 4 seeds on, else the mean); then, by ``plan.aggregation``,

- ``"return"``, one environment: that number;
- ``"normalised"``, several environments that all have a reference: the mean over environments of center(z) with
  z = (return − random) / (reference − random), :func:`.references.normalise`;
- ``"ranks"``, several environments otherwise: the mean over environments of the fraction of the other trials whose
  center is lower, ties counting half. It depends on which others there are: the ledger keeps the rank among those that
  had finished when the trial began; the sampler and the report see the ranks among all that have finished by then.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sb3_ppo_variants.experiments.stats.estimators import center
from sb3_ppo_variants.experiments.stats.references import normalise
from sb3_ppo_variants.experiments.tuning.trials import Returns, StudyPlan

AGGREGATIONS = ("return", "normalised", "ranks")


def choose_aggregation(environments: Sequence[str], references: Mapping[str, tuple[float, float]]) -> str:
    """How the returns of these environments can be put together.

    :param environments: Gymnasium ids
    :param references: Environment → (random, reference), for those that have one
    :return: ``"return"``, ``"normalised"`` or ``"ranks"``
    """
    if len(environments) == 1:
        return "return"
    return "normalised" if all(e in references for e in environments) else "ranks"


def score(returns: Returns, others: Iterable[Returns], plan: StudyPlan) -> float:
    """The score of a trial; higher is better.

    :param returns: Its final returns
    :param others: Those of the other trials; only ``"ranks"`` looks at them
    :param plan: The study
    """
    if plan.aggregation == "return":
        return float(center(returns[plan.environments[0]]))
    if plan.aggregation == "normalised":
        scaled = [normalise(returns[e], e, plan.references) for e in plan.environments]
        return float(np.mean([center(z) for z in scaled]))
    others = list(others)
    if not others:
        return 0.5
    beaten = [_beaten(float(center(returns[e])), [float(center(o[e])) for o in others]) for e in plan.environments]
    return float(np.mean(beaten))


def scores(trials: Sequence[Returns], plan: StudyPlan) -> list[float]:
    """The scores of all finished trials of a study.

    :param trials: Their final returns
    :param plan: The study
    :return: One score a trial
    """
    return [score(t, [*trials[:i], *trials[i + 1 :]], plan) for i, t in enumerate(trials)]


def _beaten(x: float, others: Sequence[float]) -> float:
    return sum(1.0 if x > y else 0.5 if x == y else 0.0 for y in others) / len(others)
