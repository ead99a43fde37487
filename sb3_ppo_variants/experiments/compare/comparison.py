"""Compare algorithms: every algorithm × environment × seed, in parallel, safe to interrupt."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.compare import presets
from sb3_ppo_variants.experiments.compare.variants import Contestant, contestants, with_settings
from sb3_ppo_variants.experiments.engine.coordinator import do_runs, run_statuses
from sb3_ppo_variants.experiments.engine.records import Record, gather, write_curves, write_runs
from sb3_ppo_variants.experiments.engine.storage import storage_url, without_password
from sb3_ppo_variants.experiments.engine.workers import available_cores
from sb3_ppo_variants.experiments.runs.environments import check_environment, make_environment, normalization
from sb3_ppo_variants.experiments.runs.registry import DEFAULT_ALGORITHMS, REFERENCE
from sb3_ppo_variants.experiments.runs.run import Run, UnfitError, build
from sb3_ppo_variants.files import safe_name, write_text

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.compare.tables import Report

Settings = Mapping[str, Mapping[str, Any]]
DEFAULT_TIMESTEPS, DEFAULT_SEEDS = 50_000, 5
UNBOUNDED = 10**9  # timesteps of a run that ends by the clock


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    :param rows: One row a run
    :param report: The tables and notes
    :param files: The files written
    """

    rows: list[Record]
    report: "Report"
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
    """Train every algorithm on every environment with every seed, and report.

    Runs go to worker processes of one thread each. All is kept in a ledger in ``out``: the same call goes on where
    an earlier one was interrupted or killed, and repeats nothing that has finished. A run that fails is reported
    with its reason and does not stop the others; the next call tries it again.

    :param environments: Gymnasium ids, or import paths ``package.module:Class``; by default CartPole-v1
    :param algorithms: Names (see :mod:`.registry`) or classes that other processes can import; ``NAME=ALGORITHM``
        gives a row a name of its own; by default our five and SB3's PPO. With a preset: which of its rows
    :param timesteps: Training steps of each run, by default 50,000; where ``wall_time`` is given, no bound
    :param seeds: How many (0, 1, …) or which; by default 5
    :param n_envs: Environments stepped together in each run
    :param settings: Row → constructor argument → value
    :param peer_defaults: Leave peers at their own defaults instead of giving them our documented settings
    :param preset: A comparison that has a name (see :mod:`.presets`): its rows, environments, timesteps and seeds, each
        of which may be given otherwise
    :param reading: How the preset reads what its source leaves open
    :param normalize: ``"observations"``, ``"rewards"``, ``"both"``, or the arguments of SB3's ``VecNormalize``; scores
        are returns as the environment gives them in any case
    :param wall_time: Seconds of training after which each run ends. Schedules that run down do so over ``timesteps``
    :param jobs: Worker processes; by default one for each available core
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the results, by default ``runs/compare`` or ``runs/<preset>``; its name also names the study
        in a ledger elsewhere
    :param report_only: Run nothing: report what the ledger holds by now, and say what is missing
    :param command: What to show in the report as the command that made it
    :param console: Where to show progress; ``None`` shows nothing
    :return: The rows, the report, and the files written
    :raises Interrupted: (a ``KeyboardInterrupt``) on Ctrl-C; what has finished is kept
    """
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be a positive integer, got {jobs!r}; leave it out to use every available core")
    if preset is None and reading != "paper":
        raise ValueError(f"reading={reading!r} is how a preset is read: give one, or leave reading out")
    chosen = None if preset is None else presets.preset(preset, reading)
    if chosen is None:
        asked = DEFAULT_ALGORITHMS if algorithms is None else algorithms
        rows = contestants(asked, settings or {}, peer_defaults, normalization(normalize))
    else:
        rows = _rows_of(chosen, algorithms, settings or {}, normalize, peer_defaults)
    where, steps, many = _budget(chosen, wall_time)
    runs = plan(
        where if environments is None else environments,
        rows,
        steps if timesteps is None else timesteps,
        many if seeds is None else seeds,
        n_envs,
        wall_time,
        to_build=settings or (),
    )
    out = Path(out) if out is not None else Path("runs") / (preset or "compare")
    url, study = storage_url(storage, out), study_name(out)
    if report_only:
        standings = run_statuses(runs, url, study)
    else:
        if storage is not None and console is not None:
            join = f"ppo-variants worker --storage {without_password(url)} --study {study}"
            console.print(f"others can join with: {join}", markup=False, highlight=False, soft_wrap=True)
        standings = do_runs(runs, url, study, jobs or available_cores(), out / "workers.log", console)
    return write_report(gather(runs, standings), out, chosen, command)


def _budget(chosen: presets.Preset | None, wall_time: float | None) -> tuple[Iterable[str], int, int]:
    """Environments, timesteps and seeds where the user says nothing."""
    if chosen is None:
        return ["CartPole-v1"], UNBOUNDED if wall_time is not None else DEFAULT_TIMESTEPS, DEFAULT_SEEDS
    return chosen.environments, UNBOUNDED if wall_time is not None else chosen.timesteps, chosen.seeds


def _rows_of(
    chosen: presets.Preset, wanted: Any, settings: Settings, normalize: Any, peer_defaults: bool
) -> list[Contestant]:
    if normalize is not None or peer_defaults:
        raise ValueError(
            "A preset has its own normalisation and peers' settings: leave normalize and peer_defaults out"
        )
    if wanted is not None and not all(isinstance(one, str) for one in wanted):
        raise ValueError(
            f"A preset has its own rows: choose among {', '.join(row.name for row in chosen.rows)} by name"
        )
    return with_settings(presets.choose_rows(chosen.rows, wanted), settings)


def plan(
    environments: str | Iterable[str],
    rows: Sequence[Contestant],
    timesteps: int,
    seeds: int | Iterable[int],
    n_envs: int = 1,
    wall_time: float | None = None,
    to_build: Collection[str] = (),
) -> dict[str, Run]:
    """The runs of a comparison, checked.

    :param environments: See :func:`compare`, as the others
    :param rows: The rows
    :param to_build: Names of rows whose settings are the user's, and checked by building their model
    :return: Key → run
    """
    names = list(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not names or not rows:
        raise ValueError(
            f"A comparison needs an environment and an algorithm, got {names} and {[r.name for r in rows]}"
        )
    runs = [
        Run(
            row.algorithm,
            environment,
            seed,
            timesteps,
            n_envs,
            row.settings,
            None if row.name == row.algorithm else row.name,
            row.normalize,
            wall_time,
        )
        for seed in _seeds(seeds)  # outermost: an unfinished comparison has all its cells filled alike
        for environment in names
        for row in rows
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


def check_by_building(run: Run) -> None:
    """Build the model of a run once, so that a wrong setting is one clear error.

    :param run: The run
    """
    env = make_environment(run.environment, run.n_envs, run.seed, run.normalize)
    try:
        build(run, env)
    except UnfitError:
        pass  # that fails a run, and not the command
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{run.algorithm} does not take the settings {dict(run.settings)}: {error}") from error
    finally:
        env.close()


def study_name(out: Path) -> str:
    """Name of the study that a comparison keeps its runs in: that of its folder.

    :param out: The comparison's folder
    """
    return safe_name(out.resolve().name) or "compare"


def write_report(
    rows: Sequence[Record], out: Path, chosen: presets.Preset | None = None, command: str | None = None
) -> Comparison:
    """Write ``runs.csv``, ``curves.csv``, ``table.md``, the pictures, and ``report.html`` with all of it.

    :param rows: The comparison
    :param out: The folder
    :param chosen: The preset that it is
    :param command: What made it
    """
    # SciPy and matplotlib take a second to import, and nothing needs them before all runs are done.
    from sb3_ppo_variants.experiments.compare.report import ReportPage
    from sb3_ppo_variants.experiments.compare.tables import make_report
    from sb3_ppo_variants.experiments.reporting.curves import draw_curves

    names = {r.run.variant for r in rows}
    reference = chosen.reference if chosen is not None and chosen.reference in names else REFERENCE
    reference = reference if reference in names else rows[0].run.variant
    published, groups, notes = (chosen.published, chosen.groups, chosen.notes) if chosen else ({}, {}, ())
    report = make_report(rows, reference, published, notes)
    write_runs(out / "runs.csv", rows)
    write_curves(out / "curves.csv", rows)
    write_text(out / "table.md", report.markdown())
    pictures = draw_curves(rows, out, groups)
    pages = ReportPage(rows, report, reference, published, groups).write(out, command)
    return Comparison(list(rows), report, [out / "runs.csv", out / "curves.csv", out / "table.md", *pictures, *pages])
