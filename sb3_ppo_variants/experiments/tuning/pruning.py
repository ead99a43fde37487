"""Pruning between the runs of a trial, and the audit that measures what it would have saved.

After each run, once every environment has one, the trial's score so far is compared with the earlier trials' scores on
the same seeds. A trial that beats less than :data:`LEAST_SHARE` of them is pruned. Only trials that came as far are
compared, so a pruned trial counts up to its last run. The scores are the study's :mod:`.metric`, whatever their scale.
With one seed, a trial is complete before it can be pruned.

:data:`LEAST_SHARE` was chosen on two earlier studies. Replayed on the two in ``zoo_configs/results/tuning`` (five
environments, three seeds), which had no part in that, the rule would have saved 18 % and 27 % of the runs: it
would have pruned 12 of 40 and 20 of 40 trials, the best of neither study among them.

Optuna's ``WilcoxonPruner`` needs at least four runs to reach p < 0.1, so it could not prune a default trial, which has
three.
"""

import dataclasses
import statistics
from collections.abc import Sequence

from sb3_ppo_variants.experiments.tuning.metric import Returns
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, ranked

FIRST_TRIAL = 6  # trial 0, the defaults, and the five after it are never pruned
LEAST_OTHERS = 5
LEAST_SHARE = 0.4


def objection(number: int, returns: Returns, earlier: Sequence[Returns], plan: StudyPlan) -> str | None:
    """Why a trial is to be pruned after the runs that it has finished.

    :param number: The trial's number in the study
    :param returns: Its final returns so far
    :param earlier: The final returns of the trials that ended before, complete or pruned
    :param plan: The study
    :return: One sentence, or ``None`` when the trial goes on
    """
    runs = {environment: len(returns.get(environment, ())) for environment in plan.environments}
    done, total = sum(runs.values()), plan.seeds * len(runs)
    others = [{e: other[e][:n] for e, n in runs.items()} for other in earlier if _came_as_far(other, runs)]
    if number < FIRST_TRIAL or 0 in runs.values() or done == total or len(others) < LEAST_OTHERS:
        return None
    score, *scores = plan.metric.scores([returns, *others])
    share = statistics.mean((score > other) + 0.5 * (score == other) for other in scores)
    if share >= LEAST_SHARE:
        return None
    return f"pruned after {done} of {total} runs: it beats {100 * share:.0f} % of {len(scores)} earlier trials"


def _came_as_far(other: Returns, runs: dict[str, int]) -> bool:
    return all(len(other.get(environment, ())) >= n for environment, n in runs.items())


@dataclasses.dataclass(frozen=True)
class Audit:
    """What pruning would have done to a study that ran without it.

    :param trials: Trials replayed
    :param pruned: Numbers of those that would have been pruned
    :param steps_saved: Fraction of the runs, and of all training steps, that they would have saved
    :param best_lost: Whether the best trial would have been pruned
    :param best_survivor_rank: Rank of the best trial that would have finished, 1 is the best of all
    """

    trials: int
    pruned: list[int]
    steps_saved: float
    best_lost: bool
    best_survivor_rank: int


def audit(trials: Sequence[TrialRecord], plan: StudyPlan) -> Audit | None:
    """Replay finished trials in their order with pruning on: each seed in every environment, then the next seed.

    :param trials: The trials; only those that are done and not reused count
    :param plan: The study
    :return: ``None`` when there is nothing to replay
    """
    finished = sorted((t for t in trials if t.state == "done" and t.reused is None), key=lambda t: t.number)
    if not finished:
        return None
    seen: list[Returns] = []
    for trial in finished:
        seen.append(_replayed(trial, seen, plan))
    total = plan.seeds * len(plan.environments)
    runs = [sum(map(len, returns.values())) for returns in seen]
    pruned = [trial.number for trial, done in zip(finished, runs, strict=True) if done < total]
    ranking = [t.number for t in ranked(finished)]
    return Audit(
        trials=len(finished),
        pruned=pruned,
        steps_saved=1 - sum(runs) / (total * len(finished)),
        best_lost=ranking[0] in pruned,
        best_survivor_rank=1 + next(rank for rank, number in enumerate(ranking) if number not in pruned),
    )


def _replayed(trial: TrialRecord, earlier: Sequence[Returns], plan: StudyPlan) -> Returns:
    """The returns that a trial would have had when it ended, pruned or not."""
    so_far: dict[str, list[float]] = {environment: [] for environment in plan.environments}
    for seed in range(plan.seeds):
        for environment, done in so_far.items():
            done.append(trial.returns[environment][seed])
            if objection(trial.number, so_far, earlier, plan) is not None:
                return so_far
    return so_far
