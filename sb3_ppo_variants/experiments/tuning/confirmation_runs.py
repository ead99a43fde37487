"""The runs of a confirmation: the best settings of a study and the defaults, on seeds that the study has never seen.

They are ordinary runs in a second study of the same storage, resumed and shared like those of a comparison.

A study may be confirmed again: with more trials, or with another number of settings. Settings that have been run on
test seeds stay among the candidates, and the correction for their number counts all of them. The number of test seeds
is that of the first confirmation. The intervals of one confirmation hold jointly with 95 % confidence. Whoever confirms
again and again, one more setting each time, and stops at the first winner errs up to 5 % × (1 + 1/2 + 1/3 + …) of the
time.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial
from rich.console import Console

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.executors import TaskExecutor
from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, IMPORTED, RUN, Store
from sb3_ppo_variants.experiments.runs.seeds import test_seeds
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord, ranked
from sb3_ppo_variants.experiments.tuning.verdict import DEFAULTS, LEAST_SEEDS

TEST_SEEDS = "test seeds"  # its user attribute: how many this study has been confirmed on


def check_confirmation(confirm: int, seeds: int) -> None:
    """Raise unless this many settings can be confirmed on this many seeds.

    :param confirm: How many of the best settings; 0 for no confirmation
    :param seeds: Test seeds
    :raises ValueError: for a number that is negative or not whole, or for too few or too many test seeds
    """
    for name, value in (("confirm", confirm), ("test_seeds", seeds)):
        integer(at_least=0)(name, value)
    if confirm and seeds < LEAST_SEEDS:
        raise ValueError(
            f"A confirmation takes at least {LEAST_SEEDS} test seeds, got {seeds}: raise --test-seeds, or leave the "
            f"confirmation out with --confirm 0"
        )
    test_seeds(seeds)


def best_settings(
    plan: StudyPlan, trials: Sequence[TrialRecord], count: int, confirmed: Sequence[int] = ()
) -> dict[str, TrialRecord]:
    """The best trials whose settings differ from each other's and from the defaults', and those confirmed before.

    :param plan: The study
    :param trials: Its trials
    :param count: How many of the best, at most
    :param confirmed: Numbers of the trials that are candidates in any case
    :return: Name of the candidate → trial, the best first; of equal scores the earlier trial comes first
    """
    finished = ranked(trials)
    distinct: dict[str, TrialRecord] = {}
    # First those confirmed before: of trials with equal settings they are the ones that have runs.
    for trial in sorted(finished, key=lambda t: t.number not in confirmed):
        distinct.setdefault(plan.identity(trial.settings), trial)
    distinct.pop(plan.identity(plan.passed(0, {})), None)
    numbers = {t.number for t in distinct.values()}
    candidates = [t for t in finished if t.number in numbers]
    return {f"trial {t.number}": t for place, t in enumerate(candidates) if place < count or t.number in confirmed}


def check_test_seeds(store: Store, seeds: int) -> None:
    """Raise when a study has been confirmed on another number of test seeds, or a confirmation on them has begun.

    :param store: The confirmation's
    :param seeds: Test seeds asked for
    :raises ValueError: if it has been confirmed on another number, or such a confirmation has begun
    """
    # Ledgers of earlier versions do not have the number; there, fewer runs are of a confirmation that was interrupted.
    own = _confirmed_seeds([trial for trial in store.trials() if IMPORTED not in trial.user_attrs])
    before = store.attributes.get(TEST_SEEDS, len(own) if len(own) >= LEAST_SEEDS else seeds)
    if before != seeds:
        raise ValueError(
            f"This study has been confirmed on {before} test seeds, and {seeds} are asked for: to choose their number "
            f"after looking would make the intervals wrong. Give --test-seeds {before}, or another --out"
        )


def _confirmed_seeds(trials: Sequence[FrozenTrial]) -> list[int]:
    described = [t.user_attrs[DESCRIPTION] for t in trials if DESCRIPTION in t.user_attrs]
    return sorted({description["seed"] for description in described})


def confirmed_before(store: Store, plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[int]:
    """Numbers of the trials whose settings have been run on test seeds.

    :param store: The confirmation's
    :param plan: The study
    :param trials: Its trials
    """
    kept = store.trials()
    seeds, known = _confirmed_seeds(kept), {t.user_attrs.get(RUN) for t in kept}
    return [t.number for t in trials if any(run.key() in known for run in plan.runs(t.settings, seeds[:1]))]


def confirm_candidates(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    count: int,
    seeds: int,
    *,
    store: Store,
    executor: Callable[[], TaskExecutor],
    folder: Path,
    console: Console,
    timeout: float | None = None,
) -> list[Candidate]:
    """Run the best settings and the defaults on the test seeds.

    :param plan: The study
    :param trials: Its trials
    :param count: How many of the best
    :param seeds: Test seeds
    :param store: The confirmation's
    :param executor: Makes what does the runs
    :param folder: The study's folder
    :param console: Where to show progress
    :param timeout: Seconds after which a run fails; ``None`` for any time
    :return: The defaults, then the best and whatever was confirmed before; empty if there is nothing but the defaults
    """
    chosen = best_settings(plan, trials, count, confirmed_before(store, plan, trials))
    if not chosen:
        return []
    passed = {DEFAULTS: plan.passed(0, {})} | {name: dict(trial.settings) for name, trial in chosen.items()}
    values = {DEFAULTS: plan.default_values()} | {name: dict(trial.values) for name, trial in chosen.items()}
    wanted = {name: plan.runs(given, test_seeds(seeds)) for name, given in passed.items()}
    # Seeds outside settings: an unfinished confirmation has all settings alike.
    runs = [run for group in zip(*wanted.values(), strict=True) for run in group]
    labels = {r.key(): f"{name} {r.environment} seed {r.seed}" for name, group in wanted.items() for r in group}
    store.keep(TEST_SEEDS, int(seeds))
    what = "runs of the confirmation"
    by_key = {r.run.key(): r for r in do_runs(runs, store, executor, folder, console, labels, what, timeout)}
    return [_candidate(name, passed[name], values[name], [by_key[r.key()] for r in wanted[name]]) for name in passed]


def _candidate(
    name: str, settings: Mapping[str, object], values: Mapping[str, object], records: Sequence[Record]
) -> Candidate:
    returns: dict[str, list[float]] = {}
    failed: dict[str, list[str]] = {}
    for record in records:
        found = returns.setdefault(record.run.environment, [])
        if record.result is not None and record.result.final_return is not None:
            found.append(record.result.final_return)
        else:
            failed.setdefault(record.run.environment, []).append(str(record.reason))
    return Candidate(name, settings, values, returns, failed)
