"""The trials of a tuning study in its ledger: their keys, and how they are read back as records."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import ACTIVE, DESCRIPTION, FIXED, RUN, Ledger, reason
from sb3_ppo_variants.experiments.engine.status import died
from sb3_ppo_variants.experiments.engine.work import RESULT
from sb3_ppo_variants.experiments.tuning.metric import scores
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER
from sb3_ppo_variants.experiments.tuning.trial_runs import EXHAUSTED, PlanSettings
from sb3_ppo_variants.experiments.tuning.trials import StudyPlan, TrialRecord, proposed


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
    first = {FIXED: PlanSettings(plan).default_parameters()}
    return {trial_key(n): {NUMBER: n, **(first if n == 0 else {})} for n in range(trials)}


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
    settings = PlanSettings(plan)
    records = []
    for key, trials in by_key.items():
        chosen = _settling(ledger, key, trials)
        if chosen is not None and reason(chosen) != EXHAUSTED:
            records.append(_record(chosen, plan, settings, len(trials)))
    return _scored(sorted(records, key=lambda r: r.number), plan)


def _settling(ledger: Ledger, key: str, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that settles a key: the one that is done, or that failed or was pruned, or the last that died."""
    settled = sorted((t for t in trials if ledger.is_settled(t)), key=lambda t: t.state != TrialState.COMPLETE)
    if settled:
        return settled[0]
    given_up = ledger.given_up(key) and not any(t.state in ACTIVE for t in trials)
    return trials[-1] if given_up else None


def _record(trial: FrozenTrial, plan: StudyPlan, settings: PlanSettings, times: int) -> TrialRecord:
    number: int = trial.user_attrs[DESCRIPTION][NUMBER]
    result = trial.user_attrs.get(RESULT, {})
    values = proposed(trial, plan)
    state = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    return TrialRecord(
        number=number,
        optuna_number=trial.number,
        state=state,
        values=values or {},
        settings=settings.passed(number, values) if values is not None else {},
        returns={} if state == "failed" else result["returns"],
        score=None,
        reason=None if state == "done" else reason(trial) or f"config: {died(times)}",
        seconds=trial.duration.total_seconds() if trial.duration is not None else 0.0,
        reused=result.get("reused"),
        curves=result.get("curves", {}),
        versions=result.get("versions", {}),
    )


def _scored(records: list[TrialRecord], plan: StudyPlan) -> list[TrialRecord]:
    finished = [r for r in records if r.state == "done"]
    found = dict(zip((r.number for r in finished), scores([r.returns for r in finished], plan), strict=True))
    return [dataclasses.replace(r, score=found.get(r.number)) for r in records]
