"""Tune an algorithm's settings: trials over seeds, then the best and the defaults again on seeds never used before."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.ledger import DESCRIPTION, EXECUTOR, FOLLOWED_BY, SUFFIX, Ledger, open_ledger
from sb3_ppo_variants.experiments.engine.status import RequestedRuns, RunStatus
from sb3_ppo_variants.experiments.engine.storage import lost_database, storage_url, study_name, without_password
from sb3_ppo_variants.experiments.engine.workers import Interrupted, coordinate, worker_count
from sb3_ppo_variants.experiments.runs.registry import algorithm_name
from sb3_ppo_variants.experiments.search_space.spaces import Space
from sb3_ppo_variants.experiments.tuning.confirmation_runs import (
    check_confirmation,
    check_test_seeds,
    confirm_candidates,
)
from sb3_ppo_variants.experiments.tuning.failures import RepeatedError, repeated_error
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan, first_difference, make_plan, without_update
from sb3_ppo_variants.experiments.tuning.progress import StudyDisplay
from sb3_ppo_variants.experiments.tuning.trials import (
    EXHAUSTED,
    PLAN,
    TIMEOUT,
    Candidate,
    TrialRecord,
    descriptions,
    ranked,
    read_trials,
)
from sb3_ppo_variants.experiments.tuning.verdict import Verdict, judge, nothing_to_confirm
from sb3_ppo_variants.experiments.tuning.zoo_entry import write_winner
from sb3_ppo_variants.files import safe_name

# The executor of its trials, as a study names it; see ``engine.work.MOVED_EXECUTORS``.
TRIALS = "sb3_ppo_variants.experiments.tuning_work:Trials"


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a tuning study gave.

    :param plan: The study
    :param trials: Its settled trials
    :param candidates: The defaults and the best, run again on test seeds; empty without a confirmation
    :param verdict: What the confirmation says; ``None`` without one
    :param files: The files written
    :param without_entry: For each environment in which a winner has no entry in ``zoo_configs``, why
    """

    plan: StudyPlan
    trials: list[TrialRecord]
    candidates: list[Candidate]
    verdict: Verdict | None
    files: list[Path]
    without_entry: list[str] = dataclasses.field(default_factory=list)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the highest score; the first of equals."""
        return next(iter(ranked(self.trials)), None)


def tune(
    algorithm: str | type[BaseAlgorithm],
    environments: str | Iterable[str] = "CartPole-v1",
    *,
    trials: int = 40,
    timesteps: int = 50_000,
    seeds: int = 3,
    n_envs: int = 1,
    jobs: int | None = None,
    sampler: str = "tpe",
    sampler_seed: int = 0,
    only: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    space: Space | str | Path | None = None,
    references: Mapping[str, tuple[float, float]] | None = None,
    pruning: bool = False,
    trial_timeout: float | None = None,
    confirm: int = 3,
    test_seeds: int = 10,
    storage: str | None = None,
    zoo_configs: str | Path | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
    command: str | None = None,
) -> Tuned:
    """Search an algorithm's settings, and say whether what was found beats the documented defaults.

    Trial 0 is the documented defaults. A trial trains every environment with every tuning seed and is scored by the
    study's :mod:`.metric`. Afterwards the best settings and the defaults are trained again, with equal budget, on test
    seeds that no trial has used, and :func:`.verdict.judge` compares them.

    Everything is kept in a ledger. Call it again to resume a study that was interrupted or killed, or with more trials
    to extend it: what is settled is not repeated. A failed trial counts, with its reason; when three trials in a row
    fail with the same config error, the study stops with it.

    :param algorithm: A name (see :mod:`.registry`) or a class that other processes can import
    :param environments: Gymnasium ids
    :param trials: Trials in total, the defaults included
    :param timesteps: Training steps of each run
    :param seeds: Tuning seeds: runs of a trial in each environment
    :param n_envs: Environments stepped together in each run
    :param jobs: Worker processes, one thread each; by default one for each available core
    :param sampler: ``"tpe"``, ``"random"`` or ``"gp"``
    :param sampler_seed: What the sampler draws depends on it and on the number of the trial
    :param only: Arguments to search, by default the whole space
    :param settings: Constructor argument → value that every trial has, the defaults included
    :param space: A space of one's own, as argument → dimension or as a file (see :func:`.spaces.read_space`), instead
        of :data:`.spaces.SPACES`
    :param references: Environment → (random policy's return, reference return), for environments that
        :mod:`.references` does not know; without one for each, several environments are compared by ranks
    :param pruning: End trials early that fall behind the earlier ones (see :mod:`.pruning`)
    :param trial_timeout: Seconds after which a trial fails
    :param confirm: How many of the best settings to confirm; 0 leaves the confirmation out
    :param test_seeds: Test seeds of the confirmation, at least 10
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param zoo_configs: Folder with a YAML file for each algorithm, which a confirmed winner is written to, for the
        environments in which it is shown to be better; by default ``out/zoo_configs``
    :param out: Where the ledger and the results go, by default ``runs/tune-<algorithm>``
    :param console: Where to show progress; nowhere by default
    :param command: The command that the report shows
    :return: Trials, candidates and verdict
    :raises ValueError: for a mistake in the arguments, or when ``out`` holds a study with another plan
    :raises Interrupted: on Ctrl-C; what has finished is kept
    """
    out = Path(out) if out is not None else Path("runs") / safe_name(f"tune-{algorithm_name(algorithm)}")
    console = console or Console(quiet=True)
    _check(trials, trial_timeout)
    workers = worker_count(jobs)
    check_confirmation(confirm, test_seeds)
    plan = make_plan(
        algorithm,
        environments,
        timesteps=timesteps,
        n_envs=n_envs,
        seeds=seeds,
        space=space,
        only=only,
        settings=settings or {},
        sampler=sampler,
        sampler_seed=sampler_seed,
        references=references or {},
        pruning=pruning,
    )
    if (note := without_update(plan)) is not None:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    url, study = storage_url(storage, out), study_name(out)
    log = out / "workers.log"
    if storage is not None:
        join = f"ppo-variants worker --storage {without_password(url)} --study {study}"
        console.print(f"others can join with: {join}", markup=False, highlight=False, soft_wrap=True)
    phase = "trials"
    try:
        with open_ledger(url, study, create=True) as ledger:
            keep_plan(ledger, plan, trial_timeout)
            if confirm:
                check_test_seeds(url, study, test_seeds)  # before any trial runs
            ledger.keep(FOLLOWED_BY, study + SUFFIX if confirm else None)
            try:
                _run_trials(ledger, plan, trials, workers, log, console)
            except RepeatedError as error:
                found = _conclude(plan, read_trials(ledger, plan), None, out, out, command)
                written = ", ".join(map(str, found.files))
                raise RepeatedError(f"{error}. What has finished is in {written}") from None
            records = read_trials(ledger, plan)
        candidates, phase = [], "runs of the confirmation"
        if confirm:
            candidates = confirm_candidates(
                plan, records, confirm, test_seeds, url=url, study=study, jobs=workers, log=log, console=console
            )
    except Interrupted as interrupt:
        raise Interrupted(interrupt.done, interrupt.total, without_password(url), phase) from interrupt
    except StorageInternalError as error:
        raise lost_database(error) from error
    folder = Path(zoo_configs) if zoo_configs else out / "zoo_configs"
    return _conclude(plan, records, candidates if confirm else None, out, folder, command)


def keep_plan(ledger: Ledger, plan: StudyPlan, trial_timeout: float | None) -> None:
    """Write a study's plan into its ledger, or raise when there is another one.

    :param ledger: The study
    :param plan: The plan
    :param trial_timeout: Seconds after which a trial fails; not part of the plan, the newest command's holds
    """
    attributes = ledger.attributes()
    remedy = "give another --out (and another folder name, if the storage is shared), or the command as it was"
    if PLAN in attributes:
        difference = first_difference(StudyPlan.from_json(attributes[PLAN]), plan)
        if difference is not None:
            raise ValueError(
                f"The study {ledger.name!r} has another plan: {difference}. {remedy[0].upper()}{remedy[1:]}"
            )
    elif ledger.trials():
        raise ValueError(f"The study {ledger.name!r} is a comparison: {remedy}")
    else:
        ledger.keep(PLAN, plan.to_json())
    ledger.keep(TIMEOUT, trial_timeout)
    ledger.keep(EXECUTOR, attributes.get(EXECUTOR, TRIALS))


def _check(trials: int, trial_timeout: float | None) -> None:
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials must be a positive integer, got {trials!r}: the first is the defaults")
    if trial_timeout is not None and not (math.isfinite(trial_timeout) and trial_timeout > 0):
        raise ValueError(f"The trial timeout is a positive number of seconds, got {trial_timeout!r}")


def _run_trials(ledger: Ledger, plan: StudyPlan, trials: int, jobs: int, log: Path, console: Console) -> None:
    requested = RequestedRuns(ledger, descriptions(plan, trials))
    display = StudyDisplay(trials, lambda: read_trials(ledger, plan), console)

    def watch(statuses: Mapping[str, RunStatus]) -> None:
        display(statuses)
        settled = [t for t in ledger.trials() if DESCRIPTION in t.user_attrs and ledger.is_settled(t)]
        if (error := repeated_error(settled)) is not None:
            raise RepeatedError(error)

    with display.live():
        statuses = coordinate(requested, jobs, log, watch)
    if any(status.reason == EXHAUSTED for status in statuses.values()):
        console.print("the space is exhausted: every setting in it has been tried, so the study ends here")


def _conclude(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    confirmed: list[Candidate] | None,
    out: Path,
    zoo_configs: Path,
    command: str | None,
) -> Tuned:
    # Matplotlib takes a second to import, and nothing needs it before all runs are done.
    from sb3_ppo_variants.experiments.tuning.report import write_report, write_tables

    candidates, verdict = confirmed or [], None
    if confirmed is not None:
        verdict = judge(plan, candidates) if candidates else nothing_to_confirm(trials)
    files = write_tables(plan, trials, candidates, out)
    files += write_report(plan, trials, candidates, verdict, out, command)
    without: list[str] = []
    if verdict is not None and verdict.winner is not None:
        winner = next(c for c in candidates if c.name == verdict.winner)
        entries, without = write_winner(plan, winner, verdict.winner_lines, study_name(out), zoo_configs)
        files += entries
    return Tuned(plan, list(trials), candidates, verdict, files, without)
