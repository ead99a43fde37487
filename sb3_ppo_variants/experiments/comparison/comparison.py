"""Compare algorithms: every algorithm × environment × seed, in parallel, safe to interrupt."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.comparison import presets
from sb3_ppo_variants.experiments.comparison.variants import (
    Variant,
    untrained,
    variants,
    with_own_settings,
    with_settings,
)
from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.executors import LOCAL, check_jobs, check_timeout, task_executor
from sb3_ppo_variants.experiments.engine.kept_models import KeptModels
from sb3_ppo_variants.experiments.engine.progress import say
from sb3_ppo_variants.experiments.engine.records import Record, learning_curves, write_curves, write_runs
from sb3_ppo_variants.experiments.engine.storage import as_storage, storage_url, study_name
from sb3_ppo_variants.experiments.engine.store import Store, held_by_others, open_store
from sb3_ppo_variants.experiments.engine.transfer import check_export, export_runs, import_runs, import_sources
from sb3_ppo_variants.experiments.runs.environments import check_environment, normalization, vec_env_name
from sb3_ppo_variants.experiments.runs.folders import choose_folder
from sb3_ppo_variants.experiments.runs.registry import DEFAULT_ALGORITHMS, REFERENCE
from sb3_ppo_variants.experiments.runs.run import Run, check_by_building, notes_on_workers
from sb3_ppo_variants.files import write_text

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.comparison.tables import ComparisonTables

Settings = Mapping[str, Mapping[str, Any]]
DEFAULT_ENVIRONMENTS: tuple[str, ...] = ("CartPole-v1",)
DEFAULT_TIMESTEPS, DEFAULT_SEEDS = 50_000, 5
UNBOUNDED = 10**9  # timesteps of a run that ends by the clock


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    :param records: One record per run
    :param report: The tables and notes
    :param files: The files written
    :param models: The run folders of the models that are kept
    """

    records: list[Record]
    report: "ComparisonTables"
    files: list[Path]
    models: list[Path] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> list[Record]:
        """The runs that failed, with their reasons."""
        return [r for r in self.records if r.state == "failed"]


def compare(
    environments: str | Iterable[str] | None = None,
    algorithms: Iterable[str | type[BaseAlgorithm]] | None = None,
    *,
    timesteps: int | None = None,
    seeds: int | Iterable[int] | None = None,
    n_envs: int = 1,
    settings: Settings | None = None,
    peer_defaults: bool = False,
    preset: str | None = None,
    reading: str = "paper",
    normalize: str | Mapping[str, Any] | None = None,
    wall_time: float | None = None,
    timeout: float | None = None,
    jobs: int | None = None,
    rollout_workers: int | None = None,
    executor: Any = LOCAL,
    storage: str | Path | None = None,
    out: str | Path | None = None,
    imports: str | Path | Iterable[str | Path] = (),
    export: str | Path | None = None,
    report_only: bool = False,
    overwrite: bool = False,
    keep_models: str | None = None,
    command: str | None = None,
    console: Console | None = None,
) -> Comparison:
    """Train every algorithm on every environment with every seed, and report how they compare.

    Runs are done in processes of one thread each and kept in a ledger in ``out``. After an interruption or a kill, the
    same call resumes the comparison and repeats no finished run. A failed run is reported with its reason and does not
    stop the others; the next call retries it. Results do not depend on ``jobs``, ``executor`` or
    interruptions.

    :param environments: Gymnasium ids, or import paths ``package.module:Class``; by default CartPole-v1
    :param algorithms: Names (see :mod:`.registry`) or classes that other processes can import; ``NAME=ALGORITHM``
        gives a variant a name of its own; by default five of ours and SB3's PPO. With a preset: which of its variants
    :param timesteps: Training steps of each run, by default 50,000; unlimited with ``wall_time``
    :param seeds: How many (0, 1, …) or which; by default 5
    :param n_envs: Environments stepped together in each run
    :param settings: Variant, or ``"*"`` for all of them, → constructor argument → value
    :param peer_defaults: Leave peers at their own defaults instead of giving them our documented settings
    :param preset: A named comparison (see :mod:`.presets`): its variants, environments, timesteps and seeds are used
        unless they are given
    :param reading: How to read what the preset's source leaves open
    :param normalize: ``"observations"``, ``"rewards"``, ``"both"``, or the arguments of SB3's ``VecNormalize``. Scores
        are always unnormalised returns
    :param wall_time: Seconds of training after which each run ends. Schedules still run over ``timesteps``
    :param timeout: Seconds after which a run fails, for environments that may hang
    :param jobs: How many runs may be under way at once; by default one for each available core, and with
        rollout workers for as many cores as each run has workers. With both given, their product is at most the number
        of cores
    :param rollout_workers: Processes that collect the rollouts of each run, holding its policy, at most one per
        environment (``WORKERS.md``). The results do not depend on their number, but differ from those without;
        ``None``: no workers
    :param executor: Where runs are done, by default on this machine; see :func:`.executors.task_executor`
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the results, by default ``runs/compare`` or ``runs/<preset>``, numbered if that holds
        another comparison; its name also names the study in a ledger elsewhere
    :param imports: Finished runs made elsewhere: folders or files that ``compare`` has written, or ledgers. They are
        put into the ledger and count as done (see :func:`.transfer.import_runs`)
    :param export: Folder to which all finished runs in the ledger are written, as ``runs.csv.gz`` and ``curves.csv.gz``
    :param report_only: Run nothing and import nothing; report the runs in the ledger and those that are missing
    :param overwrite: Replace another comparison's report in ``out``; its finished runs stay in the ledger
    :param keep_models: ``"best"``: save the model of each variant's run with the highest score in each environment
        (among equals, the one with the lowest seed); ``"all"``: of every run. Each is a run folder in ``<out>/models``,
        as ``train`` leaves it. By default models are discarded
    :param command: The command to show in the report
    :param console: Where to show progress; ``None`` shows nothing
    :return: The records, the tables and the files written
    :raises ValueError: for wrong arguments, or if ``out`` holds another comparison, before anything runs
    :raises Interrupted: (a ``KeyboardInterrupt``) on Ctrl-C; finished runs are kept
    """
    imports, storage = import_sources(imports), as_storage(storage)
    check_jobs("jobs", jobs)
    check_timeout("timeout", timeout)
    vec_env = vec_env_name(rollout_workers)
    _check_that_they_go_together(report_only, imports, preset, reading)
    chosen = None if preset is None else presets.preset(preset, reading)
    if chosen is None:
        asked = DEFAULT_ALGORITHMS if algorithms is None else algorithms
        compared = variants(asked, settings or {}, peer_defaults, normalization(normalize))
        where, steps, many = DEFAULT_ENVIRONMENTS, DEFAULT_TIMESTEPS, DEFAULT_SEEDS
    else:
        compared = _preset_variants(chosen, algorithms, settings or {}, normalize, peer_defaults)
        where, steps, many = chosen.environments, chosen.timesteps, chosen.seeds
    runs = plan(
        where if environments is None else environments,
        compared,
        timesteps if timesteps is not None else steps if wall_time is None else UNBOUNDED,
        many if seeds is None else seeds,
        n_envs,
        wall_time,
        vec_env,
        to_build=with_own_settings(compared, settings or {}),
    )
    default = Path("runs") / (preset or "compare")

    def held_by(folder: Path) -> str | None:
        return None if overwrite else held_by_others(folder, storage, runs, "another comparison")

    replaced = "its report; finished runs stay in its ledger, if that is still there"
    out = choose_folder(None if out is None else Path(out), default, held_by, replaced)
    console = console or Console(quiet=True)
    url, study = storage_url(storage, out), study_name(out, storage)
    workers = None if rollout_workers is None else min(rollout_workers, n_envs)
    models = None if keep_models is None else KeptModels(out, keep_models)
    if report_only:
        with open_store(url, study, write=False) as store:
            store.check_is_of_runs()
            records, notes = store.records(runs), _not_reported(store, runs)
    else:
        with open_store(url, study) as store:
            _check_and_import(store, runs, imports, models, console)
            if export is not None:
                _check_export(Path(export), out, store, runs)
            records = do_runs(
                runs,
                store,
                lambda: task_executor(executor, jobs, out, workers),
                out,
                console,
                timeout=timeout,
                models=models,
            )
            notes = _not_reported(store, runs)
    notes += [] if models is None else models.notes(records)
    comparison = write_files(records, out, chosen, command, notes)
    if export is not None:
        with open_store(url, study, write=False) as store:
            comparison.files.extend(export_runs([store], Path(export)))
    return dataclasses.replace(comparison, models=[] if models is None else models.kept(records))


def _check_that_they_go_together(report_only: bool, imports: Sequence[str], preset: str | None, reading: str) -> None:
    if report_only and imports:
        raise ValueError("report_only runs nothing and writes no ledger: give imports without it")
    if preset is None and reading != "paper":
        raise ValueError(f"reading={reading!r} is how a preset is read: give one, or leave reading out")


def _check_export(folder: Path, out: Path, store: Store, runs: Sequence[Run]) -> None:
    if folder.resolve() == out.resolve():
        raise ValueError(f"export={str(folder)!r} is the folder of the report: export to another one")
    check_export(folder, store, runs)


def _check_and_import(
    store: Store, runs: Sequence[Run], imports: Iterable[str], models: KeptModels | None, console: Console
) -> None:
    store.check_is_of_runs()  # before anything is put into it
    if models is not None:
        models.check(store.records(runs))
    for note in [*import_runs(store, imports), *untrained(runs), *notes_on_workers(runs)]:
        say(console, note)


def _not_reported(store: Store, runs: Sequence[Run]) -> list[str]:
    """A note on finished runs of earlier calls that this one did not ask for."""
    asked = {run.key() for run in runs}
    found = sorted(r.run.label() for r in store.all_records() if r.state == "done" and r.run.key() not in asked)
    if not found:
        return []
    return [f"Not in this report: {len(found)} other finished runs of its ledger, {found[0]} for one"]


def _preset_variants(
    chosen: presets.Preset, wanted: Any, settings: Settings, normalize: Any, peer_defaults: bool
) -> list[Variant]:
    if normalize is not None or peer_defaults:
        raise ValueError(
            "A preset has its own normalisation and peers' settings: leave normalize and peer_defaults out"
        )
    if wanted is not None and not all(isinstance(one, str) for one in wanted):
        names = ", ".join(v.name for v in chosen.variants)
        raise ValueError(f"A preset has its own variants: choose among {names} by name")
    return with_settings(presets.choose_variants(chosen, wanted), settings)


def plan(
    environments: str | Iterable[str],
    compared: Sequence[Variant],
    timesteps: int,
    seeds: int | Iterable[int],
    n_envs: int = 1,
    wall_time: float | None = None,
    vec_env: str | None = None,
    to_build: Collection[str] = (),
) -> list[Run]:
    """The runs of a comparison, checked.

    :param environments: See :func:`compare`, as the others
    :param compared: The variants
    :param vec_env: Class of the vectorised environment (see :class:`.run.Run`)
    :param to_build: Names of variants whose settings are the user's. They are checked by building a model
    :raises ValueError: without environment, variant or seed, or for an environment or settings that cannot be used
    """
    names = list(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not names or not compared:
        raise ValueError(
            f"A comparison needs an environment and an algorithm, got {names} and {[v.name for v in compared]}"
        )
    runs = [
        Run(
            variant.algorithm,
            environment,
            seed,
            timesteps,
            n_envs,
            variant.settings,
            None if variant.name == variant.algorithm else variant.name,
            variant.normalize,
            wall_time,
            vec_env,
        )
        for seed in _seeds(seeds)  # outermost: an unfinished comparison has equally many runs of each variant
        for environment in names
        for variant in compared
    ]
    for environment in names:
        check_environment(environment)
    for name in to_build:
        check_by_building(next(r for r in runs if r.variant == name))
    return runs


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable):
        integer(at_least=1)("seeds", seeds)
        return list(range(seeds))
    found = list(dict.fromkeys(seeds))
    if not found:
        raise ValueError("seeds is empty: give how many, or which")
    return found


def write_files(
    records: Sequence[Record],
    out: Path,
    chosen: presets.Preset | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Write ``runs.csv``, ``curves.csv``, ``table.md``, the pictures, and ``report.html`` with all of it.

    :param records: The runs of the comparison
    :param out: The folder
    :param chosen: The preset that it is
    :param command: The command that made it
    :param notes: Further notes
    """
    # SciPy and matplotlib take a second to import, and nothing needs them before all runs are done.
    from sb3_ppo_variants.experiments.comparison.report import write_report
    from sb3_ppo_variants.experiments.comparison.results import Results
    from sb3_ppo_variants.experiments.comparison.tables import comparison_tables
    from sb3_ppo_variants.experiments.reporting.curves import draw_curves

    names = [r.run.variant for r in records]
    wanted = (REFERENCE,) if chosen is None else (chosen.reference, REFERENCE)
    reference = next((name for name in wanted if name in names), names[0])
    groups, read_as = (chosen.groups, chosen.notes) if chosen else ({}, ())
    published = (chosen.published, chosen.published_timesteps) if chosen else ({}, 0)
    results = Results(records, reference, *published)
    tables = comparison_tables(results, [*read_as, *notes])
    write_runs(out / "runs.csv", records)
    write_curves(out / "curves.csv", records)
    write_text(out / "table.md", tables.markdown())
    pictures = draw_curves(learning_curves(records), out, groups, reference, results.peers)
    pages = write_report(results, tables, out, groups, command)
    return Comparison(
        list(records), tables, [out / "runs.csv", out / "curves.csv", out / "table.md", *pictures, *pages]
    )
