"""Compare algorithms: every algorithm × environment × seed, in parallel, safe to interrupt."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
from optuna.exceptions import StorageInternalError
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.batch import Batch
from sb3_ppo_variants.experiments.files import safe_name, write_text
from sb3_ppo_variants.experiments.ledger import open_ledger
from sb3_ppo_variants.experiments.progress import Display
from sb3_ppo_variants.experiments.registry import DEFAULT_ALGORITHMS, REFERENCE, algorithm_name, did_you_mean
from sb3_ppo_variants.experiments.report import Row, gather, write_curves, write_runs
from sb3_ppo_variants.experiments.run import Run, build, make_environment
from sb3_ppo_variants.experiments.settings import run_settings
from sb3_ppo_variants.experiments.storage import storage_url, without_password
from sb3_ppo_variants.experiments.work import Job
from sb3_ppo_variants.experiments.workers import available_cores, coordinate

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.tables import Report

Settings = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    :param rows: One row a run
    :param report: The tables and notes
    :param files: The files written
    """

    rows: list[Row]
    report: "Report"
    files: list[Path]

    @property
    def failed(self) -> list[Row]:
        """The runs that failed, with their reasons."""
        return [r for r in self.rows if r.state == "failed"]


def compare(
    environments: str | Iterable[str] = "CartPole-v1",
    algorithms: Iterable[str | type[BaseAlgorithm]] = DEFAULT_ALGORITHMS,
    *,
    timesteps: int = 50_000,
    seeds: int | Iterable[int] = 5,
    n_envs: int = 1,
    settings: Settings | None = None,
    peer_defaults: bool = False,
    jobs: int | None = None,
    storage: str | None = None,
    out: str | Path = "runs/compare",
    console: Console | None = None,
) -> Comparison:
    """Train every algorithm on every environment with every seed, and report.

    Runs go to worker processes of one thread each. All is kept in a ledger in ``out``: the same call goes on where
    an earlier one was interrupted or killed, and repeats nothing that has finished. A run that fails is reported
    with its reason and does not stop the others; the next call tries it again.

    :param environments: Gymnasium ids
    :param algorithms: Names (see :mod:`.registry`) or classes that other processes can import
    :param timesteps: Training steps of each run
    :param seeds: How many (0, 1, …) or which
    :param n_envs: Environments stepped together in each run
    :param settings: Algorithm → constructor argument → value
    :param peer_defaults: Leave peers at their own defaults instead of giving them our documented settings
    :param jobs: Worker processes; by default one for each available core
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the results; its name also names the study in a ledger elsewhere
    :param console: Where to show progress; ``None`` shows nothing
    :return: The rows, the report, and the files written
    :raises Interrupted: (a ``KeyboardInterrupt``) on Ctrl-C; what has finished is kept
    """
    out = Path(out)
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be a positive integer, got {jobs!r}; leave it out to use every available core")
    runs = plan(environments, algorithms, timesteps, seeds, n_envs, settings or {}, peer_defaults)
    display = Display(runs, console or Console(quiet=True))
    url, study = storage_url(storage, out), study_name(out)
    if storage is not None and console is not None:
        join = f"ppo-variants worker --storage {without_password(url)} --study {study}"
        console.print(f"others can join with: {join}", markup=False, highlight=False, soft_wrap=True)
    try:
        with open_ledger(url, study, create=True) as ledger, display.live():
            if ledger.executor is not None:
                raise ValueError(
                    f"The study {study!r} in {without_password(url)} is a tuning study: give another --out"
                )
            batch = Batch(ledger, {key: run.description() for key, run in runs.items()})
            job = Job(ledger.url, ledger.name, ledger.heartbeat, ledger.grace, wanted=tuple(runs), first=batch.first)
            standings = coordinate(batch, job, jobs or available_cores(), out / "workers.log", display)
    except StorageInternalError as error:
        raise ConnectionError(f"Lost the ledger's database ({error}); the same command goes on from there") from error
    return write_report(gather(runs, standings), out)


def plan(
    environments: str | Iterable[str],
    algorithms: Iterable[str | type[BaseAlgorithm]],
    timesteps: int,
    seeds: int | Iterable[int],
    n_envs: int,
    settings: Settings,
    peer_defaults: bool,
) -> dict[str, Run]:
    """The runs of a comparison, checked.

    :param environments: See :func:`compare`, as the others
    :return: Key → run
    """
    names = list(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    known = list(
        dict.fromkeys(algorithm_name(a) for a in ([algorithms] if isinstance(algorithms, str) else algorithms))
    )
    wanted_seeds = _seeds(seeds)
    if not names or not known:
        raise ValueError(f"A comparison needs an environment and an algorithm, got {names} and {known}")
    for owner in settings:
        if owner not in known:
            raise ValueError(
                f"Settings are given for {owner!r}, which is not in the comparison: {', '.join(known)}."
                f"{did_you_mean(owner, known)}"
            )
    passed = {a: run_settings(a, settings.get(a, {}), peer_defaults) for a in known}
    runs = [
        Run(a, environment, seed, timesteps, n_envs, passed[a])
        for environment in names
        for seed in wanted_seeds  # seeds outside algorithms: an unfinished comparison has all algorithms alike
        for a in known
    ]
    for environment in names:
        check_environment(environment)
    for a in known:
        if a in settings:
            check_by_building(next(r for r in runs if r.algorithm == a))
    return {run.key(): run for run in runs}


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, bool) or (isinstance(seeds, int) and seeds < 1):
        raise ValueError(f"seeds must be at least 1, got {seeds!r}")
    found = list(range(seeds) if isinstance(seeds, int) else dict.fromkeys(seeds))
    if not found:
        raise ValueError("seeds is empty: give how many, or which")
    return found


def check_environment(environment: str) -> None:
    """Make an environment once, so that a wrong name is one clear error and not one failed run a seed.

    :param environment: Gymnasium id
    """
    try:
        gymnasium.make(environment).close()
    except (gymnasium.error.Error, ImportError) as error:
        near = "" if "Did you mean" in str(error) else did_you_mean(environment, gymnasium.registry)
        raise ValueError(f"Cannot make the environment {environment!r}: {error}{near}") from error


def check_by_building(run: Run) -> None:
    """Build the model of a run once, so that a wrong setting is one clear error.

    :param run: The run
    """
    env = make_environment(run.environment, run.n_envs, run.seed)
    try:
        build(run, env)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{run.algorithm} does not take the settings {dict(run.settings)}: {error}") from error
    except AssertionError:
        pass  # SB3's way to say that the algorithm does not fit the environment: that fails a run, not the command
    finally:
        env.close()


def study_name(out: Path) -> str:
    """Name of the study that a comparison keeps its runs in: that of its folder.

    :param out: The comparison's folder
    """
    return safe_name(out.resolve().name) or "compare"


def write_report(rows: Sequence[Row], out: Path) -> Comparison:
    """Write ``runs.csv``, ``curves.csv``, ``table.md`` and the pictures.

    :param rows: The comparison
    :param out: The folder
    """
    # SciPy and matplotlib take a second to import, and nothing needs them before all runs are done.
    from sb3_ppo_variants.experiments.plots import draw_curves
    from sb3_ppo_variants.experiments.tables import make_report

    algorithms = {r.run.algorithm for r in rows}
    report = make_report(rows, REFERENCE if REFERENCE in algorithms else rows[0].run.algorithm)
    write_runs(out / "runs.csv", rows)
    write_curves(out / "curves.csv", rows)
    write_text(out / "table.md", report.markdown())
    pictures = draw_curves(rows, out)
    return Comparison(list(rows), report, [out / "runs.csv", out / "curves.csv", out / "table.md", *pictures])
