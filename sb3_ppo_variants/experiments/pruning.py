"""Median pruning along the learning curves, and the audit that measures whether it would have paid.

Each run of a trial has :data:`CHECKPOINTS` checkpoints, at equal shares of its timesteps. The value there is the mean
return of the last 100 episodes at the end of the first rollout that reaches the checkpoint. Steps are paired over
trials: the same environment, the same seed, the same checkpoint. A trial is pruned where its value is below the median
of the finished trials' values at the same step.

The rule depends on the trials finished before the trial began and on nothing else (no clock), so a study with one
worker is pruned the same way again.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import TypeAlias

from sb3_ppo_variants.experiments.trials import Curves, TrialRecord

CHECKPOINTS = 10
FIRST_CHECKPOINT = 3  # of a run: before it the curves say little
FIRST_TRIAL = 6  # trial 0, the defaults, and the five after it are never pruned
LEAST_OTHERS = 5

Curve: TypeAlias = Sequence[tuple[int, float | None]]


def checkpoint_step(checkpoint: int, timesteps: int) -> float:
    """Where a checkpoint lies.

    :param checkpoint: 1 to :data:`CHECKPOINTS`
    :param timesteps: Training steps of a run
    """
    return checkpoint * timesteps / CHECKPOINTS


def checkpoint_values(curve: Curve, timesteps: int) -> list[float | None]:
    """The value at each checkpoint, ``None`` where no episode had finished or the curve has not come that far.

    :param curve: (timesteps, mean return) pairs
    :param timesteps: Training steps of a run
    :return: :data:`CHECKPOINTS` values
    """
    return [
        next((value for step, value in curve if step >= checkpoint_step(checkpoint, timesteps)), None)
        for checkpoint in range(1, CHECKPOINTS + 1)
    ]


def below_median(value: float | None, others: Sequence[float | None]) -> bool:
    """Whether a trial is to be pruned at a step.

    :param value: Its value there
    :param others: The finished trials' values there
    """
    known = [other for other in others if other is not None]
    return value is not None and len(known) >= LEAST_OTHERS and value < statistics.median(known)


@dataclasses.dataclass(frozen=True)
class Rule:
    """Decides for one trial.

    :param number: The trial's number
    :param timesteps: Training steps of a run
    :param others: Curves of the trials that had finished when it began
    """

    number: int
    timesteps: int
    others: Sequence[Curves]

    def objection(self, environment: str, seed: int, curve: Curve) -> str | None:
        """Why the trial is to be pruned, seen at the newest point of a run's curve; ``None`` if it is not.

        :param environment: The run's environment
        :param seed: Index of the run's seed
        :param curve: The run's curve so far
        """
        if self.number < FIRST_TRIAL or not curve:
            return None
        before = curve[-2][0] if len(curve) > 1 else 0
        values = checkpoint_values(curve, self.timesteps)
        for checkpoint in range(FIRST_CHECKPOINT, CHECKPOINTS + 1):
            if not before < checkpoint_step(checkpoint, self.timesteps) <= curve[-1][0]:
                continue
            others = [
                checkpoint_values(other[environment][seed], self.timesteps)[checkpoint - 1] for other in self.others
            ]
            if below_median(values[checkpoint - 1], others):
                return f"checkpoint {checkpoint} of {CHECKPOINTS} of {environment}, seed {seed}: {curve[-1][0]} steps"
        return None


@dataclasses.dataclass(frozen=True)
class Audit:
    """What median pruning would have done to a study that ran without it.

    :param trials: Trials looked at
    :param pruned: Numbers of those that would have been pruned
    :param steps_saved: Fraction of all training steps that they would have saved
    :param best_lost: Whether the best trial would have been pruned
    :param best_survivor_rank: Rank of the best trial that would have finished, 1 is the best of all
    """

    trials: int
    pruned: list[int]
    steps_saved: float
    best_lost: bool
    best_survivor_rank: int


def audit(trials: Sequence[TrialRecord], timesteps: int) -> Audit | None:
    """Replay finished trials in their order with median pruning on.

    The medians are those of the trials that would have finished, as they would have been.

    :param trials: The trials; only those that are done and not reused count
    :param timesteps: Training steps of a run
    :return: ``None`` when there is nothing to replay
    """
    finished = sorted((t for t in trials if t.state == "done" and t.reused is None), key=lambda t: t.number)
    if not finished:
        return None
    survivors: list[TrialRecord] = []
    pruned: list[int] = []
    saved = 0.0
    for trial in finished:
        share = _share_done(trial, timesteps, [s.curves for s in survivors])
        if share < 1.0:
            pruned.append(trial.number)
            saved += 1.0 - share
        else:
            survivors.append(trial)
    ranking = [t.number for t in sorted(finished, key=lambda t: -(t.score if t.score is not None else -float("inf")))]
    return Audit(
        trials=len(finished),
        pruned=pruned,
        steps_saved=saved / len(finished),
        best_lost=ranking[0] in pruned,
        best_survivor_rank=1 + min(ranking.index(s.number) for s in survivors),
    )


def _share_done(trial: TrialRecord, timesteps: int, others: Sequence[Curves]) -> float:
    """Fraction of a trial's steps that are trained until it is pruned, 1 if it is not."""
    rule = Rule(trial.number, timesteps, others)
    runs = [(environment, seed) for environment, curves in trial.curves.items() for seed in range(len(curves))]
    for index, (environment, seed) in enumerate(runs):
        curve = trial.curves[environment][seed]
        for end in range(1, len(curve) + 1):
            if rule.objection(environment, seed, curve[:end]) is not None:
                return min(1.0, (index + curve[end - 1][0] / curve[-1][0]) / len(runs))
    return 1.0
