"""Confirmation: the best settings of a study and the defaults, run again on seeds that the study has never seen.

The runs are ordinary ones, in a second study of the same storage, so they are resumed, shared and counted like those
of a comparison.

Whoever looks at test seeds may do so again: with more trials, or with another number of settings. Settings that have
been looked at stay among the candidates, so that the correction for their number counts all of them; and the number of
test seeds is that of the first look. The intervals of one look hold together with 95 %; who looks again and again, at
one setting more each time, and stops at the first winner, errs up to 5 % × (1 + 1/2 + 1/3 + …) of the time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, RUN, SUFFIX, Ledger, open_ledger
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.status import RequestedRuns, RunStatus
from sb3_ppo_variants.experiments.engine.storage import study_names
from sb3_ppo_variants.experiments.engine.work import RESULT
from sb3_ppo_variants.experiments.engine.workers import coordinate
from sb3_ppo_variants.experiments.runs.run import Run
from sb3_ppo_variants.experiments.runs.seeds import test_seeds
from sb3_ppo_variants.experiments.tuning.confirmation import DEFAULTS, LEAST_SEEDS
from sb3_ppo_variants.experiments.tuning.trial_runs import PlanSettings, runs
from sb3_ppo_variants.experiments.tuning.trials import Candidate, StudyPlan, TrialRecord


def check_confirmation(confirm: int, seeds: int) -> None:
    """Raise unless so many settings can be confirmed on so many seeds.

    :param confirm: How many of the best settings; 0 for no confirmation
    :param seeds: Test seeds
    """
    for name, value in (("confirm", confirm), ("test_seeds", seeds)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number from 0, got {value!r}")
    if confirm and seeds < LEAST_SEEDS:
        raise ValueError(
            f"A confirmation takes at least {LEAST_SEEDS} test seeds, got {seeds}: raise --test-seeds, or leave the "
            f"confirmation out with --confirm 0"
        )
    test_seeds(seeds)


def best_settings(
    plan: StudyPlan, trials: Sequence[TrialRecord], count: int, looked_at: Sequence[int] = ()
) -> dict[str, TrialRecord]:
    """The best trials whose settings differ from each other's and from the defaults', and those looked at before.

    :param plan: The study
    :param trials: Its trials
    :param count: How many of the best, at most
    :param looked_at: Numbers of the trials that are candidates in any case
    :return: Name of the candidate → trial, the best first; of equal scores the earlier trial comes first
    """
    settings = PlanSettings(plan)
    finished = sorted((t for t in trials if t.score is not None), key=lambda t: (-(t.score or 0.0), t.number))
    distinct: dict[str, TrialRecord] = {}
    # First those looked at: of trials with equal settings they are the ones that have runs.
    for trial in sorted(finished, key=lambda t: t.number not in looked_at):
        distinct.setdefault(settings.identity(trial.settings), trial)
    distinct.pop(settings.identity(settings.passed(0, {})), None)
    numbers = {t.number for t in distinct.values()}
    ranked = [t for t in finished if t.number in numbers]
    return {f"trial {t.number}": t for place, t in enumerate(ranked) if place < count or t.number in looked_at}


def check_test_seeds(url: str, study: str, seeds: int) -> None:
    """Raise when a study has been confirmed on another number of test seeds.

    :param url: Storage of the ledger
    :param study: Name of the tuning study
    :param seeds: Test seeds asked for
    """
    if study + SUFFIX not in study_names(url):
        return
    with open_ledger(url, study + SUFFIX, create=False) as ledger:
        before = len(_seeds_looked_at(ledger))
    if before not in (0, seeds):
        raise ValueError(
            f"This study has been confirmed on {before} test seeds, and {seeds} are asked for: to choose their number "
            f"after looking would make the intervals wrong. Give --test-seeds {before}, or another --out"
        )


def _seeds_looked_at(ledger: Ledger) -> list[int]:
    described = [t.user_attrs[DESCRIPTION] for t in ledger.trials() if DESCRIPTION in t.user_attrs]
    return sorted({description["seed"] for description in described})


def looked_at(ledger: Ledger, plan: StudyPlan, trials: Sequence[TrialRecord]) -> list[int]:
    """Numbers of the trials whose settings have been looked at on test seeds.

    :param ledger: The confirmation's
    :param plan: The study
    :param trials: Its trials
    """
    seeds = _seeds_looked_at(ledger)
    known = {t.user_attrs.get(RUN) for t in ledger.trials()}
    return [t.number for t in trials if any(run.key() in known for run in runs(plan, t.settings, seeds[:1]))]


def confirm_candidates(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    count: int,
    seeds: int,
    *,
    url: str,
    study: str,
    jobs: int,
    log: Path,
    console: Console,
) -> list[Candidate]:
    """Run the best settings and the defaults on the test seeds.

    :param plan: The study
    :param trials: Its trials
    :param count: How many of the best
    :param seeds: Test seeds
    :param url: Storage of the ledger
    :param study: Name of the tuning study
    :param jobs: Worker processes
    :param log: What the workers say
    :param console: Where to show progress
    :return: The defaults, then the best and whatever was looked at before; empty if there is nothing but the defaults
    """
    settings = PlanSettings(plan)
    with open_ledger(url, study + SUFFIX, create=True) as ledger:
        chosen = best_settings(plan, trials, count, looked_at(ledger, plan, trials))
    if not chosen:
        return []
    passed = {DEFAULTS: settings.passed(0, {})} | {name: dict(trial.settings) for name, trial in chosen.items()}
    values = {DEFAULTS: settings.default_values()} | {name: dict(trial.values) for name, trial in chosen.items()}
    wanted = {name: runs(plan, given, test_seeds(seeds)) for name, given in passed.items()}
    # Seeds outside settings: an unfinished confirmation has all settings alike.
    by_key = {run.key(): run for group in zip(*wanted.values(), strict=True) for run in group}
    labels = {r.key(): f"{name} {r.environment} seed {r.seed}" for name, group in wanted.items() for r in group}
    display = Display(by_key, console, labels)
    with open_ledger(url, study + SUFFIX, create=True) as ledger, display.live():
        batch = RequestedRuns(ledger, {key: run.description() for key, run in by_key.items()})
        standings = coordinate(batch, jobs, log, display)
    return [_candidate(name, passed[name], values[name], wanted[name], standings) for name in passed]


def _candidate(
    name: str,
    settings: Mapping[str, object],
    values: Mapping[str, object],
    wanted: Sequence[Run],
    standings: Mapping[str, RunStatus],
) -> Candidate:
    returns: dict[str, list[float]] = {}
    failed: dict[str, list[str]] = {}
    for run in wanted:
        returns.setdefault(run.environment, [])
        standing = standings[run.key()]
        if standing.state == "done" and standing.trial is not None:
            returns[run.environment].append(standing.trial.user_attrs[RESULT]["final_return"])
        else:
            failed.setdefault(run.environment, []).append(str(standing.reason))
    return Candidate(name, settings, values, returns, failed)
