"""How much each documented default matters: one parameter at a time around them, all others as documented.

That is a cut through the space along each axis and no search: where two parameters act together, it does not see it.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.records import Record, gather, write_runs
from sb3_ppo_variants.experiments.engine.storage import storage_url, study_name
from sb3_ppo_variants.experiments.engine.workers import available_cores
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.registry import algorithm_name, did_you_mean
from sb3_ppo_variants.experiments.runs.run import Run, check_by_building
from sb3_ppo_variants.experiments.runs.seeds import check_n_envs, tuning_seeds
from sb3_ppo_variants.experiments.runs.settings import constructor_parameters, full_settings, run_settings
from sb3_ppo_variants.experiments.stats import estimators as statistics
from sb3_ppo_variants.files import safe_name, write_csv

# The documented ranges, and beyond both ends of them. 1 − λ halves or so from point to point; c₁ and c₂ include 0.
POINTS: Mapping[str, tuple[float, ...]] = {
    "clip_range": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    "n_epochs": (1, 3, 5, 10, 15, 20),
    "gae_lambda": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    "vf_coef": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0),
    "ent_coef": (0.0, 0.001, 0.003, 0.01, 0.03, 0.1),
}
COLUMNS = ("parameter", "value", "default", "return", "low", "high", "n", "failed", "returns")


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of one parameter in one environment.

    :param environment: Gymnasium id
    :param argument: The parameter
    :param value: Its value
    :param default: Whether that is its default: the same runs for every parameter
    :param returns: Final returns of the runs that finished, in the order of the seeds
    :param failed: Reasons of those that failed
    """

    environment: str
    argument: str
    value: Any
    default: bool
    returns: tuple[float, ...]
    failed: tuple[str, ...]

    @property
    def center(self) -> float | None:
        """IQM of the returns (mean below 4); ``None`` without any."""
        return float(statistics.center(self.returns)) if self.returns else None

    @property
    def interval(self) -> statistics.Interval | None:
        """Its 95 % percentile bootstrap interval."""
        return statistics.center_interval(self.returns) if self.returns else None


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What a sensitivity study gave.

    :param points: Environment by environment, parameter by parameter, from the lowest value to the highest
    :param rows: Its runs
    :param files: The files written
    """

    points: list[Point]
    rows: list[Record]
    files: list[Path]

    @property
    def failed(self) -> list[Record]:
        """The runs that failed, with their reasons."""
        return [r for r in self.rows if r.state == "failed"]


def sensitivity(
    algorithm: str | type[BaseAlgorithm] = "clip_ppo",
    environments: str | Iterable[str] = "CartPole-v1",
    *,
    parameters: Iterable[str] | None = None,
    points: Mapping[str, Sequence[Any]] | None = None,
    timesteps: int = 50_000,
    seeds: int = 5,
    n_envs: int = 1,
    settings: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    storage: str | None = None,
    out: str | Path = "runs/sensitivity",
    console: Console | None = None,
) -> Sensitivity:
    """Train with one parameter moved at a time, and draw the return over it.

    The runs with all defaults are a point of every curve and are done once. All is kept in a ledger: the same call
    goes on where an earlier one was interrupted, and with more seeds, points or environments it adds what is new.

    :param algorithm: A name (see :mod:`.registry`) or a class that other processes can import
    :param environments: Gymnasium ids
    :param parameters: Constructor arguments; by default those of :data:`POINTS` that the algorithm has
    :param points: Parameter → values, in the place of those of :data:`POINTS`; the default is always added
    :param timesteps: Training steps of each run
    :param seeds: Runs of each point
    :param n_envs: Environments stepped together in each run
    :param settings: Constructor argument → value that every run has; it moves the defaults
    :param jobs: Worker processes; by default one for each available core
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the ledger and the results
    :param console: Where to show progress; ``None`` shows nothing
    :return: The points, and the files written: for each environment a picture and a CSV, and ``runs.csv``
    :raises Interrupted: on Ctrl-C; what has finished is kept
    """
    out, name = Path(out), algorithm_name(algorithm)
    names = list(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not names:
        raise ValueError("A sensitivity study needs an environment, got none")
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be a positive integer, got {jobs!r}; leave it out to use every available core")
    check_n_envs(n_envs)
    passed = run_settings(name, settings or {})
    values = grid(name, passed, parameters, points or {})
    wanted = tuning_seeds(seeds)
    for environment in names:
        check_environment(environment)
    chosen = [{}, *({a: v} for a, vs in values.items() for v in vs if v != _default(name, passed, a))]
    runs = {
        (environment, seed, i): Run(name, environment, seed, timesteps, n_envs, passed | change)
        for environment in names
        for seed in wanted  # seeds outside points: an unfinished study has all points alike
        for i, change in enumerate(chosen)
    }
    for i in range(len(chosen)):
        check_by_building(runs[names[0], wanted[0], i])
    labels = {run.key(): f"{_text(chosen[i])} {e} seed {seed}" for (e, seed, i), run in runs.items()}
    by_key = {run.key(): run for run in runs.values()}
    url, log = storage_url(storage, out), out / "workers.log"
    standings = do_runs(by_key, url, study_name(out), jobs or available_cores(), log, console, labels)
    rows = gather(by_key, standings)
    found = [
        _point(rows, environment, argument, value, passed, value == _default(name, passed, argument))
        for environment in names
        for argument, vs in values.items()
        for value in vs
    ]
    return Sensitivity(found, rows, _write(found, rows, name, out))


def grid(
    algorithm: str, settings: Mapping[str, Any], parameters: Iterable[str] | None, points: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """The values of each parameter, the default among them, from the lowest to the highest.

    :param algorithm: Name of the algorithm
    :param settings: What every run passes to the constructor
    :param parameters: See :func:`sensitivity`
    :param points: See :func:`sensitivity`
    :return: Parameter → values
    """
    takes = constructor_parameters(algorithm)
    wanted = [p for p in POINTS if p in takes] if parameters is None else list(dict.fromkeys(parameters))
    wanted += [p for p in points if p not in wanted]
    if not wanted:
        raise ValueError(f"{algorithm} has none of {', '.join(POINTS)}: name parameters of its own, and their points")
    found = {}
    for parameter in wanted:
        if parameter not in takes:
            raise ValueError(f"{algorithm} takes no argument {parameter!r}.{did_you_mean(parameter, takes)}")
        given = points.get(parameter, POINTS.get(parameter))
        default = _default(algorithm, settings, parameter)
        if given is None or not all(_is_number(v) for v in (*given, default)):
            raise ValueError(
                f"The points of {parameter!r} must be numbers, as its default must be, got {given!r} around "
                f"{default!r}: points={{{parameter!r}: [0.1, 0.2]}}"
            )
        found[parameter] = sorted({*given, default})
        if len(found[parameter]) < 2:
            raise ValueError(f"{parameter!r} has no point beside its default {default!r}")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _default(algorithm: str, settings: Mapping[str, Any], argument: str) -> Any:
    return full_settings(algorithm, settings).get(argument)


def _text(change: Mapping[str, Any]) -> str:
    return ", ".join(f"{argument}={value}" for argument, value in change.items()) or "defaults"


def _point(
    rows: Sequence[Record], environment: str, argument: str, value: Any, settings: Mapping[str, Any], default: bool
) -> Point:
    passed = dict(settings) if default else dict(settings) | {argument: value}
    mine = [r for r in rows if r.run.environment == environment and r.run.settings == passed]
    returns = [r.result.final_return for r in mine if r.result is not None and r.result.final_return is not None]
    failed = [r.reason or "no reason given" for r in mine if r.state == "failed"]
    return Point(environment, argument, value, default, tuple(returns), tuple(failed))


def _write(points: Sequence[Point], rows: Sequence[Record], algorithm: str, out: Path) -> list[Path]:
    from sb3_ppo_variants.experiments.sensitivity.picture import draw_sensitivity

    write_runs(out / "runs.csv", rows)
    files = [out / "runs.csv"]
    first = rows[0].run
    for environment in dict.fromkeys(p.environment for p in points):
        mine = [p for p in points if p.environment == environment]
        stem = f"sensitivity-{safe_name(environment)}"
        write_csv(out / f"{stem}.csv", COLUMNS, [_cells(p) for p in mine])
        title = f"{algorithm} on {environment}, {first.timesteps:,} timesteps, n_envs {first.n_envs}"
        files += [out / f"{stem}.csv", draw_sensitivity(mine, title, out / f"{stem}.png")]
    return files


def _cells(p: Point) -> list[Any]:
    low, high = p.interval or (None, None)
    returns = " ".join(map(repr, p.returns))
    return [p.argument, p.value, p.default, p.center, low, high, len(p.returns), len(p.failed), returns]
