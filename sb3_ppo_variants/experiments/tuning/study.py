"""Tune an algorithm's settings: trials over seeds, then the best and the defaults again on seeds never used before."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.engine.coordinator import Interrupted, do_work
from sb3_ppo_variants.experiments.engine.executors import LOCAL, TaskExecutor, check_jobs, check_timeout, task_executor
from sb3_ppo_variants.experiments.engine.progress import say
from sb3_ppo_variants.experiments.engine.storage import (
    SUFFIXES,
    as_storage,
    storage_url,
    study_name,
    without_password,
)
from sb3_ppo_variants.experiments.engine.store import PLAN, Store, open_store, refuse_another_report
from sb3_ppo_variants.experiments.engine.transfer import check_export, export_runs, import_runs, import_sources
from sb3_ppo_variants.experiments.runs.environments import vec_env_name
from sb3_ppo_variants.experiments.runs.registry import algorithm_name
from sb3_ppo_variants.experiments.runs.run import notes_on_workers
from sb3_ppo_variants.experiments.runs.seeds import is_test_seed, is_tuning_seed, tuning_seeds
from sb3_ppo_variants.experiments.runs.settings import without_update
from sb3_ppo_variants.experiments.search_space.dimensions import Dimension
from sb3_ppo_variants.experiments.search_space.spaces import EARLIER_RANGES, RANGES, Space, without_range
from sb3_ppo_variants.experiments.tuning.confirmation_runs import (
    check_confirmation,
    check_test_seeds,
    confirm_candidates,
)
from sb3_ppo_variants.experiments.tuning.failures import RepeatedError
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan, first_difference, make_plan
from sb3_ppo_variants.experiments.tuning.progress import StudyDisplay
from sb3_ppo_variants.experiments.tuning.trial_runs import TrialsToDo
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord, ranked, read_trials
from sb3_ppo_variants.experiments.tuning.verdict import Verdict, judge, nothing_to_confirm
from sb3_ppo_variants.experiments.tuning.zoo_entry import write_winner
from sb3_ppo_variants.files import safe_name


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The results of a tuning study.

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
    rollout_workers: int | None = None,
    executor: Any = LOCAL,
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
    storage: str | Path | None = None,
    zoo_configs: str | Path | None = None,
    imports: str | Path | Iterable[str | Path] = (),
    export: str | Path | None = None,
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
    :param jobs: How many runs may be under way at once; by default one for each available core. With several, what
        the sampler proposes depends on which trials have finished by then
    :param rollout_workers: See :func:`.comparison.compare`
    :param executor: Where runs are done, by default on this machine; see :func:`.executors.task_executor`
    :param sampler: ``"tpe"``, ``"random"`` or ``"gp"``
    :param sampler_seed: What the sampler draws depends on it and on the number of the trial
    :param only: Arguments to search, by default the whole space
    :param settings: Constructor argument → value that every trial has, the defaults included
    :param space: A space of one's own, as argument → dimension or as a file (see :func:`.spaces.read_space`), instead
        of :data:`.spaces.SPACES`
    :param references: Environment → (random policy's return, reference return), for environments that
        :mod:`.references` does not know; without one for each, several environments are compared by ranks
    :param pruning: End trials early that fall behind the earlier ones (see :mod:`.pruning`)
    :param trial_timeout: Seconds that the runs of a trial may take together, and each run of the confirmation; after
        that it fails
    :param confirm: How many of the best settings to confirm; 0 leaves the confirmation out
    :param test_seeds: Test seeds of the confirmation, at least 10
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param zoo_configs: Folder with a YAML file for each algorithm, which a confirmed winner is written to, for the
        environments in which it is shown to be better; by default ``out/zoo_configs``
    :param imports: Finished runs made elsewhere (see :func:`.transfer.import_runs`); whatever trial or candidate wants
        one of them need not train it
    :param export: Folder to which all finished runs are written, as ``runs.csv.gz`` and ``curves.csv.gz``
    :param out: Where the ledger and the results go, by default ``runs/tune-<algorithm>``
    :param console: Where to show progress; nowhere by default
    :param command: The command that the report shows
    :return: Trials, candidates and verdict
    :raises ValueError: for a mistake in the arguments, or when ``out`` holds a study with another plan
    :raises Interrupted: on Ctrl-C; what has finished is kept
    :raises RepeatedError: (a ``ValueError``) when three trials in a row fail with the same config error
    """
    out = Path(out) if out is not None else Path("runs") / safe_name(f"tune-{algorithm_name(algorithm)}")
    console = console or Console(quiet=True)
    imports, storage = import_sources(imports), as_storage(storage)
    only = [only] if isinstance(only, str) else list(only)
    _check(trials, trial_timeout, jobs, confirm, test_seeds)
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
        vec_env=vec_env_name(rollout_workers),
    )
    for note in [*_notes(plan), *([] if space is not None or only else _not_searched(plan))]:
        say(console, note)
    url, study = storage_url(storage, out), study_name(out, storage)
    workers = None if rollout_workers is None else min(rollout_workers, n_envs)
    make = partial(task_executor, executor, jobs, out, workers)
    _check_folders(out, url, study, export)
    with ExitStack() as stores:
        store = stores.enter_context(open_store(url, study))
        plan = keep_plan(store, plan)  # before anything else is put into the ledger
        tuning_runs, test_runs = (stores.enter_context(open_store(url, study + suffix)) for suffix in SUFFIXES)
        for note in import_runs(tuning_runs, imports, is_tuning_seed) + import_runs(test_runs, imports, is_test_seed):
            say(console, note)
        if confirm:
            check_test_seeds(test_runs, test_seeds)  # before any trial runs
        candidates_to_run = min(confirm + 1, trials) if confirm else 0
        display = StudyDisplay(trials, console, afterwards=candidates_to_run * test_seeds / seeds)
        try:
            _run_trials(TrialsToDo(store, tuning_runs, plan, trials, trial_timeout, display), make, out)
        except RepeatedError as error:
            found = _conclude(plan, read_trials(store, plan), None, out, out, command, study)
            written = ", ".join(map(str, found.files))
            raise RepeatedError(f"{error}. What has finished is in {written}") from None
        records, candidates = read_trials(store, plan), list[Candidate]()
        if confirm:
            candidates = confirm_candidates(
                plan,
                records,
                confirm,
                test_seeds,
                store=test_runs,
                executor=make,
                folder=out,
                console=console,
                timeout=trial_timeout,
            )
        entries = Path(zoo_configs or out / "zoo_configs")
        tuned = _conclude(plan, records, candidates if confirm else None, out, entries, command, study)
        # After the report: the folder may hold other runs.
        exported = [] if export is None else export_runs([tuning_runs, test_runs], Path(export))
    return dataclasses.replace(tuned, files=[*tuned.files, *exported])


def _check_folders(out: Path, url: str, study: str, export: str | Path | None) -> None:
    refuse_another_report(out, url, study)
    if export is not None:
        check_export(Path(export))


def keep_plan(store: Store, plan: StudyPlan) -> StudyPlan:
    """Write a study's plan into its store, or raise when there is another one.

    :param store: The study
    :param plan: The plan
    :return: The plan; a study begun with the default ranges of an earlier release keeps them
    :raises ValueError: when the study has another plan, or is a comparison
    """
    kept = store.attributes.get(PLAN)
    remedy = "give another --out (and another folder name, if the storage is shared), or the command as it was"
    if kept is not None:
        begun = StudyPlan.from_json(kept)
        plan = dataclasses.replace(plan, space={a: _as_begun(a, begun.space, d) for a, d in plan.space.items()})
        difference = first_difference(begun, plan)
        if difference is not None:
            raise ValueError(
                f"The study {store.name!r} has another plan: {difference}. {remedy[0].upper()}{remedy[1:]}"
            )
    elif store.trials():
        raise ValueError(f"The study {store.name!r} is a comparison: {remedy}")
    else:
        store.keep(PLAN, plan.to_json())
    return plan


def _as_begun(argument: str, begun: Space, asked: Dimension) -> Dimension:
    earlier = EARLIER_RANGES.get(argument)
    return earlier if earlier is not None and begun.get(argument) == earlier and asked == RANGES[argument] else asked


def _notes(plan: StudyPlan) -> list[str]:
    """What a study would do that its user may not want."""
    n_steps = None if "n_steps" in plan.space else plan.defaults.get("n_steps")
    untrained = without_update(n_steps, plan.n_envs, plan.timesteps)
    by_workers = notes_on_workers(plan.runs(plan.passed(0, {}), tuning_seeds(1)))
    return [*([] if untrained is None else [untrained]), *by_workers]


def _not_searched(plan: StudyPlan) -> list[str]:
    unknown = ", ".join(without_range(plan.algorithm))
    note = f"Not searched, because no range is known: {unknown}. --space takes a space of your own."
    return [note] if unknown else []


def _check(trials: int, trial_timeout: float | None, jobs: int | None, confirm: int, test_seeds: int) -> None:
    integer(at_least=1, hint="The first is the defaults.")("trials", trials)
    check_timeout("trial_timeout", trial_timeout)
    check_jobs("jobs", jobs)
    check_confirmation(confirm, test_seeds)


def _run_trials(work: TrialsToDo, executor: Callable[[], TaskExecutor], out: Path) -> None:
    if work.is_to_do:
        try:
            with work.display.progress:
                do_work(work, executor(), out)
        except KeyboardInterrupt as interrupt:
            where = without_password(work.store.url)
            raise Interrupted(work.done, work.total, where, "trials") from interrupt
    if work.done < work.total:
        say(work.display.console, "the space is exhausted: every setting in it has been tried, so the study ends here")


def _conclude(
    plan: StudyPlan,
    trials: Sequence[TrialRecord],
    confirmed: list[Candidate] | None,
    out: Path,
    zoo_configs: Path,
    command: str | None,
    study: str,
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
        entries, without = write_winner(plan, winner, verdict.winner_lines, study, zoo_configs)
        files += entries
    return Tuned(plan, list(trials), candidates, verdict, files, without)
