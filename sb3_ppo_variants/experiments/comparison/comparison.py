"""Compare algorithms: every algorithm × environment × seed, in parallel, safe to interrupt."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.comparison import presets
from sb3_ppo_variants.experiments.comparison.variants import Variant, variants, with_own_settings, with_settings
from sb3_ppo_variants.experiments.engine.coordinator import do_runs, run_statuses
from sb3_ppo_variants.experiments.engine.records import Record, gather, learning_curves, write_curves, write_runs
from sb3_ppo_variants.experiments.engine.storage import storage_url, study_name, without_password
from sb3_ppo_variants.experiments.engine.workers import worker_count
from sb3_ppo_variants.experiments.runs.environments import check_environment, normalization
from sb3_ppo_variants.experiments.runs.registry import DEFAULT_ALGORITHMS, REFERENCE
from sb3_ppo_variants.experiments.runs.run import Run, check_by_building
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

    :param rows: One record per run
    :param report: The tables and notes
    :param files: The files written
    """

    rows: list[Record]
    report: "ComparisonTables"
    files: list[Path]

    @property
    def failed(self) -> list[Record]:
        """The runs that failed, with their reasons."""
        return [r for r in self.rows if r.state == "failed"]


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
    jobs: int | None = None,
    storage: str | None = None,
    out: str | Path | None = None,
    report_only: bool = False,
    command: str | None = None,
    console: Console | None = None,
) -> Comparison:
    """Train every algorithm on every environment with every seed, and report how they compare.

    Runs are done in worker processes of one thread each and kept in a ledger in ``out``. After an interruption or a
    kill, the same call resumes the comparison and repeats no finished run. A failed run is reported with its reason and
    does not stop the others; the next call retries it.

    :param environments: Gymnasium ids, or import paths ``package.module:Class``; by default CartPole-v1
    :param algorithms: Names (see :mod:`.registry`) or classes that other processes can import; ``NAME=ALGORITHM``
        gives a variant a name of its own; by default our five and SB3's PPO. With a preset: which of its variants
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
    :param jobs: Number of worker processes; by default one for each available core
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the results, by default ``runs/compare`` or ``runs/<preset>``; its name also names the study
        in a ledger elsewhere
    :param report_only: Run nothing; report the runs in the ledger and those that are missing
    :param command: The command to show in the report
    :param console: Where to show progress; ``None`` shows nothing
    :return: The records, the tables and the files written
    :raises ValueError: for wrong arguments, before anything runs
    :raises Interrupted: (a ``KeyboardInterrupt``) on Ctrl-C; finished runs are kept
    """
    workers = worker_count(jobs)
    if preset is None and reading != "paper":
        raise ValueError(f"reading={reading!r} is how a preset is read: give one, or leave reading out")
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
        to_build=with_own_settings(compared, settings or {}),
    )
    out = Path(out) if out is not None else Path("runs") / (preset or "compare")
    url, study = storage_url(storage, out), study_name(out)
    if report_only:
        statuses = run_statuses(runs, url, study)
    else:
        if storage is not None and console is not None:
            join = f"ppo-variants worker --storage {without_password(url)} --study {study}"
            console.print(f"others can join with: {join}", markup=False, highlight=False, soft_wrap=True)
        statuses = do_runs(runs, url, study, workers, out / "workers.log", console)
    return write_files(gather(runs, statuses), out, chosen, command)


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
    to_build: Collection[str] = (),
) -> dict[str, Run]:
    """The runs of a comparison, checked.

    :param environments: See :func:`compare`, as the others
    :param compared: The variants
    :param to_build: Names of variants whose settings are the user's. They are checked by building a model
    :return: Key → run
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
        )
        for seed in _seeds(seeds)  # outermost: an unfinished comparison has equally many runs of each variant
        for environment in names
        for variant in compared
    ]
    for environment in names:
        check_environment(environment)
    for name in to_build:
        check_by_building(next(r for r in runs if r.variant == name))
    return {run.key(): run for run in runs}


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, bool) or (isinstance(seeds, int) and seeds < 1):
        raise ValueError(f"seeds must be at least 1, got {seeds!r}")
    found = list(range(seeds) if isinstance(seeds, int) else dict.fromkeys(seeds))
    if not found:
        raise ValueError("seeds is empty: give how many, or which")
    return found


def write_files(
    records: Sequence[Record], out: Path, chosen: presets.Preset | None = None, command: str | None = None
) -> Comparison:
    """Write ``runs.csv``, ``curves.csv``, ``table.md``, the pictures, and ``report.html`` with all of it.

    :param records: The runs of the comparison
    :param out: The folder
    :param chosen: The preset that it is
    :param command: The command that made it
    """
    # SciPy and matplotlib take a second to import, and nothing needs them before all runs are done.
    from sb3_ppo_variants.experiments.comparison.report import write_report
    from sb3_ppo_variants.experiments.comparison.results import Results
    from sb3_ppo_variants.experiments.comparison.tables import comparison_tables
    from sb3_ppo_variants.experiments.reporting.curves import draw_curves

    names = [r.run.variant for r in records]
    wanted = (REFERENCE,) if chosen is None else (chosen.reference, REFERENCE)
    reference = next((name for name in wanted if name in names), names[0])
    published, groups, notes = (chosen.published, chosen.groups, chosen.notes) if chosen else ({}, {}, ())
    results = Results(records, reference, published)
    tables = comparison_tables(results, notes)
    write_runs(out / "runs.csv", records)
    write_curves(out / "curves.csv", records)
    write_text(out / "table.md", tables.markdown())
    pictures = draw_curves(learning_curves(records), out, groups, REFERENCE, results.peers)
    pages = write_report(results, tables, out, groups, command)
    return Comparison(
        list(records), tables, [out / "runs.csv", out / "curves.csv", out / "table.md", *pictures, *pages]
    )
