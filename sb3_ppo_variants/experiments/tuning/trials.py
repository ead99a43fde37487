"""The trials of a tuning study in its ledger, and the records that are read back from there."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, RESULT, RUN, Store, reason
from sb3_ppo_variants.experiments.tuning.metric import Returns
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER

EXHAUSTED = "space exhausted"  # why a trial is pruned when every setting has been tried

Curves: TypeAlias = Mapping[str, Sequence[Sequence[tuple[int, float | None]]]]
"""Environment → for each seed its learning curve, (timesteps, mean return of the last 100 episodes)."""


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    :param number: Its place in the study; 0 is the documented defaults. Not Optuna's number
    :param optuna_number: Number of Optuna's trial that settled it
    :param state: ``"done"``, ``"pruned"`` or ``"failed"``
    :param values: Argument → value of every searched dimension
    :param settings: What the constructor was given
    :param returns: Final returns on the tuning seeds; empty when it failed, incomplete when it was pruned
    :param score: Its score, computed from the returns; ``None`` unless it is done
    :param reason: Why it failed (``"nan: …"``, ``"config: …"``, ``"env: …"``, ``"timeout: …"``) or was pruned
    :param seconds: How long its runs took, added up; of a failed one, and in old studies, from its start to its end
    :param reused: Number of the trial with the same settings whose returns it has
    :param curves: Learning curves, thinned
    :param versions: Software that made it
    """

    number: int
    optuna_number: int
    state: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    returns: Returns
    score: float | None
    reason: str | None
    seconds: float
    reused: int | None
    curves: Curves
    versions: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Settings that were run again on test seeds: one of the best, or the defaults.

    :param name: ``"defaults"``, or ``"trial 7"``
    :param settings: What the constructor was given
    :param values: Argument → value of every searched dimension
    :param returns: Final returns on the test seeds
    :param failed: Environment → reasons of the runs that failed
    """

    name: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    returns: Returns
    failed: Mapping[str, Sequence[str]]


def done(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score, in the order given."""
    return [t for t in trials if t.score is not None]


def ranked(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score, the best first; of equal scores the earlier trial comes first."""
    return sorted(done(trials), key=lambda t: (-(t.score or 0.0), t.number))


def counts(trials: Iterable[TrialRecord]) -> str:
    """How many trials are done, pruned and failed, in words; empty without trials."""
    states = Counter(t.state for t in trials)
    return ", ".join(f"{states[s]} {s}" for s in ("done", "pruned", "failed") if states[s])


def proposed(trial: FrozenTrial, plan: StudyPlan) -> dict[str, Any] | None:
    """The value of each dimension in one of Optuna's trials.

    :param trial: The trial
    :param plan: The study
    :return: Argument → value; ``None`` when it ended before anything was proposed
    """
    if any(d.parameter_name(a) not in trial.params for a, d in plan.space.items()):
        return None
    return {a: d.value(trial.params[d.parameter_name(a)]) for a, d in plan.space.items()}


def settled(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials of a study that are never done again: those that are complete, or failed or were pruned with a reason.

    In old studies other trials belong to processes that died, or were left over when two processes raced.

    :param trials: Optuna's trials
    :return: In their order; of trials with the same place in the study, one
    """
    found: dict[str, FrozenTrial] = {}
    for trial in trials:
        ended = trial.state in (TrialState.FAIL, TrialState.PRUNED) and reason(trial) not in (None, EXHAUSTED)
        if RUN in trial.user_attrs and (ended or trial.state == TrialState.COMPLETE):
            found.setdefault(trial.user_attrs[RUN], trial)
    return list(found.values())


def number_of(trial: FrozenTrial) -> int:
    """A trial's place in its study; 0 is the documented defaults. Optuna's number may be another."""
    number: int = trial.user_attrs[DESCRIPTION][NUMBER]
    return number


def read_trials(store: Store, plan: StudyPlan) -> list[TrialRecord]:
    """The settled trials of a study.

    :param store: The study
    :param plan: Its plan
    :return: Ordered by number
    """
    records = sorted((_record(trial, plan) for trial in settled(store.trials())), key=lambda record: record.number)
    finished = [r for r in records if r.state == "done"]
    scores = dict(zip((r.number for r in finished), plan.metric.scores([r.returns for r in finished]), strict=True))
    return [dataclasses.replace(r, score=scores.get(r.number)) for r in records]


def _record(trial: FrozenTrial, plan: StudyPlan) -> TrialRecord:
    number, result = number_of(trial), trial.user_attrs.get(RESULT, {})
    duration = trial.duration.total_seconds() if trial.duration is not None else 0.0
    values = proposed(trial, plan)
    state = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    return TrialRecord(
        number=number,
        optuna_number=trial.number,
        state=state,
        values=values or {},
        settings=plan.passed(number, values) if values is not None else {},
        returns={} if state == "failed" else result["returns"],
        score=None,
        reason=None if state == "done" else reason(trial),
        seconds=result.get("seconds", duration),  # the duration has the time in which no command was at work
        reused=result.get("reused"),
        curves=result.get("curves", {}),
        versions=result.get("versions", {}),
    )
