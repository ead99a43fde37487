"""Pruning along the learning curves, and the audit that measures whether it would have paid.

Each run of a trial has :data:`CHECKPOINTS` checkpoints, at equal shares of its timesteps. The value there is the mean
return of the last 100 episodes at the end of the first rollout that reaches the checkpoint. Runs are paired over
trials: the same environment, the same seed, the same checkpoint. A run beats a share of the earlier trials that came as
far; a trial is pruned when the mean share over its runs so far falls below :data:`LEAST_SHARE`. Shares need no common
scale, and one bad run does not end a trial whose other runs are good.

The rule depends only on the trials that ended before the trial began, not on the time, so a study with one worker is
pruned the same way when it is repeated.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import optuna

from sb3_ppo_variants.experiments.runs.run import CurvePoint
from sb3_ppo_variants.experiments.tuning.trials import Curves, TrialRecord, ranked

CHECKPOINTS = 10
FIRST_CHECKPOINT = 3  # of a run: the curves are too noisy before it
FIRST_TRIAL = 6  # trial 0, the defaults, and the five after it are never pruned
LEAST_OTHERS = 5
LEAST_SHARE = 1 / 3

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


def share_beaten(value: float | None, others: Sequence[float | None]) -> float | None:
    """The share of others that a value beats; of equals, half.

    :param value: A run's value at a checkpoint
    :param others: The earlier trials' values there, ``None`` for those that did not come so far
    :return: ``None`` where there is no value, or there are fewer than :data:`LEAST_OTHERS`
    """
    known = [other for other in others if other is not None]
    if value is None or len(known) < LEAST_OTHERS:
        return None
    return sum((value > other) + 0.5 * (value == other) for other in known) / len(known)


@dataclasses.dataclass(frozen=True)
class PruningRule:
    """Decides for one trial whether it is pruned.

    :param number: The trial's number
    :param timesteps: Training steps of a run
    :param others: Curves of the trials that had ended when it began, whether finished or pruned
    """

    number: int
    timesteps: int
    others: Sequence[Curves]

    def objection(self, environment: str, seed: int, curve: Curve, finished: Curves) -> str | None:
        """Why the trial is to be pruned, seen at the newest point of a run's curve; ``None`` if it is not.

        :param environment: The run's environment
        :param seed: Index of the run's seed
        :param curve: The run's curve so far
        :param finished: The curves of the trial's runs before this one
        """
        if self.number < FIRST_TRIAL or not curve:
            return None
        before = curve[-2][0] if len(curve) > 1 else 0
        values = checkpoint_values(curve, self.timesteps)
        for checkpoint in range(FIRST_CHECKPOINT, CHECKPOINTS + 1):
            if not before < checkpoint_step(checkpoint, self.timesteps) <= curve[-1][0]:
                continue
            share = self._share(environment, seed, checkpoint, values[checkpoint - 1])
            if share is not None and (mean := statistics.mean([*self._shares(finished), share])) < LEAST_SHARE:
                return (
                    f"checkpoint {checkpoint} of {CHECKPOINTS} of {environment}, seed {seed}: {curve[-1][0]} steps, "
                    f"where its runs beat {100 * mean:.0f} % of the earlier trials"
                )
        return None

    def _shares(self, finished: Curves) -> list[float]:
        shares = [
            self._share(environment, seed, CHECKPOINTS, checkpoint_values(curve, self.timesteps)[-1])
            for environment, curves in finished.items()
            for seed, curve in enumerate(curves)
        ]
        return [share for share in shares if share is not None]

    def _share(self, environment: str, seed: int, checkpoint: int, value: float | None) -> float | None:
        runs = [curves[environment][seed] for curves in self._values if seed < len(curves.get(environment, ()))]
        return share_beaten(value, [values[checkpoint - 1] for values in runs])

    @cached_property
    def _values(self) -> list[dict[str, list[list[float | None]]]]:
        return [
            {e: [checkpoint_values(curve, self.timesteps) for curve in curves] for e, curves in other.items()}
            for other in self.others
        ]


@dataclasses.dataclass
class RunPruner:
    """Applies the pruning rule to the curve of one run as it grows.

    :param rule: The rule, for the run's trial
    :param environment: The run's environment
    :param seed: Index of the run's seed
    :param finished: The curves of the trial's runs before this one
    :param curve: The curve so far
    """

    rule: PruningRule
    environment: str
    seed: int
    finished: Curves
    curve: list[tuple[int, float | None]] = dataclasses.field(default_factory=list)

    def look_at(self, point: CurvePoint) -> None:
        """To be called with each new point.

        :raises TrialPruned: when the trial is to be pruned
        """
        self.curve.append((point.timesteps, point.mean_return))
        if (where := self.rule.objection(self.environment, self.seed, self.curve, self.finished)) is not None:
            raise optuna.TrialPruned(f"pruned at {where}")


@dataclasses.dataclass(frozen=True)
class Audit:
    """What pruning would have done to a study that ran without it.

    :param trials: Trials replayed
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
    """Replay finished trials in their order with pruning on: of a trial that ends early, the rest is not known.

    :param trials: The trials; only those that are done and not reused count
    :param timesteps: Training steps of a run
    :return: ``None`` when there is nothing to replay
    """
    finished = sorted((t for t in trials if t.state == "done" and t.reused is None), key=lambda t: t.number)
    if not finished:
        return None
    seen: list[Curves] = []
    pruned: list[int] = []
    saved = 0.0
    for trial in finished:
        curves, share_done = _replayed(trial, timesteps, seen)
        seen.append(curves)
        if share_done is not None:
            pruned.append(trial.number)
            saved += 1.0 - share_done
    ranking = [t.number for t in ranked(finished)]
    return Audit(
        trials=len(finished),
        pruned=pruned,
        steps_saved=saved / len(finished),
        best_lost=ranking[0] in pruned,
        best_survivor_rank=1 + next(rank for rank, number in enumerate(ranking) if number not in pruned),
    )


def _replayed(trial: TrialRecord, timesteps: int, others: Sequence[Curves]) -> tuple[Curves, float | None]:
    """A trial's curves so far as they would have come, and the fraction of its steps; ``None`` for that to the end."""
    rule = PruningRule(trial.number, timesteps, others)
    n_runs = sum(map(len, trial.curves.values()))
    so_far: dict[str, list[Curve]] = {}
    index = 0
    for environment, curves in trial.curves.items():
        of_environment = so_far.setdefault(environment, [])
        for seed, curve in enumerate(curves):
            for end in range(1, len(curve) + 1):
                if rule.objection(environment, seed, curve[:end], so_far) is not None:
                    of_environment.append(curve[:end])
                    return so_far, min(1.0, (index + curve[end - 1][0] / curve[-1][0]) / n_runs)
            of_environment.append(curve)
            index += 1
    return so_far, None


def objection(number, returns, earlier, plan):
    return None
