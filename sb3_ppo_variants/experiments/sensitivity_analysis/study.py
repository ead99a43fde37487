"""How much each documented default matters: one parameter at a time around them, all others as documented.

It cuts through the space along each axis, so it does not show where two parameters interact.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.engine.coordinator import do_runs
from sb3_ppo_variants.experiments.engine.executors import LOCAL, check_jobs, task_executor
from sb3_ppo_variants.experiments.engine.progress import say
from sb3_ppo_variants.experiments.engine.records import Record, write_runs
from sb3_ppo_variants.experiments.engine.storage import as_storage, storage_url, study_name
from sb3_ppo_variants.experiments.engine.store import held_by_others, open_store
from sb3_ppo_variants.experiments.runs.environments import check_environment, vec_env_name
from sb3_ppo_variants.experiments.runs.folders import choose_folder
from sb3_ppo_variants.experiments.runs.registry import algorithm_name
from sb3_ppo_variants.experiments.runs.run import Run, check_by_building, notes_on_workers
from sb3_ppo_variants.experiments.runs.seeds import check_n_envs, tuning_seeds
from sb3_ppo_variants.experiments.runs.settings import full_settings, run_settings
from sb3_ppo_variants.experiments.sensitivity_analysis.picture import draw_sensitivity
from sb3_ppo_variants.experiments.sensitivity_analysis.points import Point, grid, with_differences
from sb3_ppo_variants.files import safe_names, write_csv

COLUMNS = (
    *("parameter", "value", "default", "return", "low", "high", "n", "failed", "returns"),
    *("difference", "difference_low", "difference_high", "difference_level"),
)


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The results of a sensitivity study.

    :param points: Environment by environment, parameter by parameter, from the lowest value to the highest
    :param records: Its runs
    :param files: The files written
    """

    points: list[Point]
    records: list[Record]
    files: list[Path]

    @property
    def failed(self) -> list[Record]:
        """The runs that failed, with their reasons."""
        return [r for r in self.records if r.state == "failed"]


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
    rollout_workers: int | None = None,
    executor: Any = LOCAL,
    storage: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Sensitivity:
    """Train with one parameter moved at a time, and plot the return against it.

    The runs with all defaults are a point of every curve and are done once. Everything is kept in a ledger: call it
    again to resume a study that was interrupted, or with more seeds, points or environments to extend it.

    :param algorithm: A name (see :mod:`.registry`) or a class that other processes can import
    :param environments: Gymnasium ids
    :param parameters: Constructor arguments; by default those of :data:`.POINTS` that the algorithm has and
        that are on by default (not ``None``, and not 0 unless 0 is one of the points)
    :param points: Parameter → values, instead of those of :data:`.POINTS`; the default is always added
    :param timesteps: Training steps of each run
    :param seeds: Runs of each point
    :param n_envs: Environments stepped together in each run
    :param settings: Constructor argument → value in every run; they replace the class's defaults
    :param jobs: How many runs may be under way at once; by default one for each available core
    :param rollout_workers: See :func:`.comparison.compare`
    :param executor: Where runs are done, by default on this machine; see :func:`.executors.task_executor`
    :param storage: Database URL of the ledger, by default an SQLite file in ``out``
    :param out: Folder for the ledger and the results, by default ``runs/sensitivity``, numbered if that holds others
    :param overwrite: Replace other results in ``out``; their finished runs stay in the ledger
    :param console: Where to show progress; ``None`` shows nothing
    :return: The points with their differences from the default, and the files written: for each environment a picture
        and a CSV, and ``runs.csv``
    :raises ValueError: for a mistake in the arguments, or if ``out`` holds other runs
    :raises Interrupted: on Ctrl-C; what has finished is kept
    """
    name, storage = algorithm_name(algorithm), as_storage(storage)
    names = list(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not names:
        raise ValueError("A sensitivity study needs an environment, got none")
    check_jobs("jobs", jobs)
    check_n_envs(n_envs)
    vec_env = vec_env_name(rollout_workers)
    workers = None if rollout_workers is None else min(rollout_workers, n_envs)
    passed = run_settings(name, settings or {})
    values = grid(name, passed, [parameters] if isinstance(parameters, str) else parameters, points or {})
    defaults = full_settings(name, passed)
    wanted = tuning_seeds(seeds)
    for environment in names:
        check_environment(environment)
    chosen = [{}, *({a: v} for a, vs in values.items() for v in vs if v != defaults.get(a))]
    runs = {
        (environment, seed, i): Run(name, environment, seed, timesteps, n_envs, passed | change, vec_env=vec_env)
        for environment in names
        for seed in wanted  # seeds outside points: an unfinished study has all points alike
        for i, change in enumerate(chosen)
    }
    for i in range(len(chosen)):
        check_by_building(runs[names[0], wanted[0], i])
    for note in notes_on_workers(list(runs.values())):
        say(console or Console(quiet=True), note)
    out = choose_folder(
        None if out is None else Path(out),
        Path("runs/sensitivity"),
        lambda folder: None if overwrite else held_by_others(folder, storage, runs.values(), "other runs"),
        "their results; their finished runs stay in the ledger",
    )
    labels = {run.key(): f"{_text(chosen[i])} {e} seed {seed}" for (e, seed, i), run in runs.items()}
    with open_store(storage_url(storage, out), study_name(out, storage)) as store:
        records = do_runs(
            runs.values(), store, lambda: task_executor(executor, jobs, out, workers), out, console, labels
        )
    found = [
        _point(records, environment, argument, value, passed, value == defaults.get(argument))
        for environment in names
        for argument, vs in values.items()
        for value in vs
    ]
    found = with_differences(found)
    return Sensitivity(found, records, _write(found, records, name, out))


def _text(change: Mapping[str, Any]) -> str:
    return ", ".join(f"{argument}={value}" for argument, value in change.items()) or "defaults"


def _point(
    records: Sequence[Record], environment: str, argument: str, value: Any, settings: Mapping[str, Any], default: bool
) -> Point:
    passed = dict(settings) if default else dict(settings) | {argument: value}
    mine = [r for r in records if r.run.environment == environment and r.run.settings == passed]
    returns = [r.result.final_return for r in mine if r.result is not None and r.result.final_return is not None]
    failed = [r.reason or "no reason given" for r in mine if r.state == "failed"]
    return Point(environment, argument, value, default, tuple(returns), tuple(failed))


def _write(points: Sequence[Point], records: Sequence[Record], algorithm: str, out: Path) -> list[Path]:
    write_runs(out / "runs.csv", records)
    files = [out / "runs.csv"]
    first = records[0].run  # with all defaults
    given = "".join(f", {argument}={value}" for argument, value in first.settings.items())
    environments = list(dict.fromkeys(p.environment for p in points))
    for environment, name in zip(environments, safe_names(environments), strict=True):
        mine = [p for p in points if p.environment == environment]
        stem = f"sensitivity-{name}"
        write_csv(out / f"{stem}.csv", COLUMNS, [_cells(p) for p in mine])
        title = f"{algorithm} on {environment}, {first.timesteps:,} timesteps, n_envs {first.n_envs}{given}"
        files += [out / f"{stem}.csv", draw_sensitivity(mine, title, out / f"{stem}.png")]
    return files


def _cells(p: Point) -> list[Any]:
    low, high = p.interval or (None, None)
    returns = " ".join(map(repr, p.returns))
    cells = [p.argument, p.value, p.default, p.center, low, high, len(p.returns), len(p.failed), returns]
    if p.difference is None:
        return [*cells, None, None, None, None]
    low, high = p.difference.interval or (None, None)
    return [*cells, p.difference.value, low, high, p.difference.level]
