"""The trials of a tuning study in its ledger, and the records that are read back from there."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import ACTIVE, DESCRIPTION, FIXED, RUN, Ledger, reason
from sb3_ppo_variants.experiments.engine.status import died
from sb3_ppo_variants.experiments.engine.work import RESULT
from sb3_ppo_variants.experiments.tuning.metric import Returns
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER

# User attributes of the study.
PLAN, TIMEOUT = "plan", "trial_timeout"

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
    :param seconds: Wall time
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


def trial_key(number: int) -> str:
    """A trial's identity in the ledger.

    :param number: Its place in the study
    """
    return f"trial {number}"


def descriptions(plan: StudyPlan, trials: int) -> dict[str, dict[str, Any]]:
    """The trials of a study: the first is given the defaults, the others are the sampler's.

    :param plan: The study
    :param trials: How many
    :return: Key → description
    """
    values = plan.default_values()
    defaults = {d.parameter_name(a): d.parameter(values[a]) for a, d in plan.space.items()}
    return {trial_key(n): {NUMBER: n, **({FIXED: defaults} if n == 0 else {})} for n in range(trials)}


def read_trials(ledger: Ledger, plan: StudyPlan) -> list[TrialRecord]:
    """The settled trials of a study.

    Trials that were left when the space was exhausted are not among them.

    :param ledger: The study
    :param plan: Its plan
    :return: Ordered by number
    """
    by_key: dict[str, list[FrozenTrial]] = {}
    for trial in ledger.trials():
        if RUN in trial.user_attrs:
            by_key.setdefault(trial.user_attrs[RUN], []).append(trial)
    records = []
    for key, trials in by_key.items():
        chosen = _settling(ledger, key, trials)
        if chosen is not None and reason(chosen) != EXHAUSTED:
            records.append(_record(chosen, plan, len(trials)))
    records.sort(key=lambda record: record.number)
    finished = [r for r in records if r.state == "done"]
    scores = dict(zip((r.number for r in finished), plan.metric.scores([r.returns for r in finished]), strict=True))
    return [dataclasses.replace(r, score=scores.get(r.number)) for r in records]


def _settling(ledger: Ledger, key: str, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that settles a key: the one that is done, or that failed or was pruned, or the last that died."""
    settled = sorted((t for t in trials if ledger.is_settled(t)), key=lambda t: t.state != TrialState.COMPLETE)
    if settled:
        return settled[0]
    given_up = ledger.given_up(key) and not any(t.state in ACTIVE for t in trials)
    return trials[-1] if given_up else None


def _record(trial: FrozenTrial, plan: StudyPlan, times: int) -> TrialRecord:
    number: int = trial.user_attrs[DESCRIPTION][NUMBER]
    result = trial.user_attrs.get(RESULT, {})
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
        reason=None if state == "done" else reason(trial) or f"config: {died(times)}",
        seconds=trial.duration.total_seconds() if trial.duration is not None else 0.0,
        reused=result.get("reused"),
        curves=result.get("curves", {}),
        versions=result.get("versions", {}),
    )
