"""The rows of a comparison, from the ledger to CSV."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sb3_ppo_variants.experiments.engine.standings import Standing, State
from sb3_ppo_variants.experiments.engine.work import RESULT
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.files import write_csv


@dataclasses.dataclass(frozen=True)
class Record:
    """One run of a comparison and what came of it.

    :param run: The run
    :param state: ``"done"``, ``"failed"``, or how far it is if it has not ended
    :param result: What it gave, when it is done
    :param reason: Why it failed, when it has
    """

    run: Run
    state: State
    result: Result | None = None
    reason: str | None = None


def gather(runs: Mapping[str, Run], standings: Mapping[str, Standing]) -> list[Record]:
    """The rows of a comparison.

    :param runs: Key → run
    :param standings: Key → where it stands
    :return: One row a run, in the order of ``runs``
    """
    rows = []
    for key, run in runs.items():
        standing = standings[key]
        result = None
        if standing.state == "done" and standing.trial is not None:
            kept = standing.trial.user_attrs[RESULT]
            result = Result(**{**kept, "curve": [CurvePoint(*point) for point in kept["curve"]]})
        rows.append(Record(run, standing.state, result, standing.reason))
    return rows


def scores(rows: Sequence[Record], algorithm: str, environment: str) -> list[float]:
    """Final returns of the finished runs of one algorithm in one environment, in the order of the seeds.

    :param rows: The comparison
    :param algorithm: Name of the algorithm
    :param environment: Gymnasium id
    """
    found = [r for r in select(rows, algorithm, environment) if r.result is not None]
    return [r.result.final_return for r in found if r.result is not None and r.result.final_return is not None]


def select(rows: Sequence[Record], algorithm: str, environment: str) -> list[Record]:
    """The rows of one algorithm in one environment.

    :param rows: The comparison
    :param algorithm: Name of the algorithm
    :param environment: Gymnasium id
    """
    return [r for r in rows if r.run.row == algorithm and r.run.environment == environment]


def complete_environments(rows: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Environments in which every row has a finished run.

    :param rows: The comparison
    :param names: The rows
    """
    environments = dict.fromkeys(r.run.environment for r in rows)
    return [e for e in environments if all(scores(rows, name, e) for name in names)]


def version_note(rows: Sequence[Record]) -> str | None:
    """A warning when rows were made by different software, ``None`` when all were made by the same.

    :param rows: The comparison
    """
    made_by = [r.result.versions for r in rows if r.result is not None]
    mixed = []
    for package in dict.fromkeys(p for versions in made_by for p in versions):
        found = sorted({versions.get(package, "none") for versions in made_by})
        if len(found) > 1:
            mixed.append(f"{package} {' and '.join(found)}")
    return f"The rows were made by different versions: {', '.join(mixed)}" if mixed else None


def learning_curves(
    records: Sequence[Record], over: str = "timesteps"
) -> dict[str, dict[str, list[tuple[list[float], list[float]]]]]:
    """Learning curves of the finished runs, from the first point with a return.

    :param records: Records of any runs
    :param over: ``"timesteps"`` or ``"seconds"``
    :return: Environment → variant → timesteps or seconds, and returns, of each run
    """
    finished = [(r.run, r.result.curve) for r in records if r.result is not None]
    variants = dict.fromkeys(r.run.row for r in records)
    found: dict[str, dict[str, list[tuple[list[float], list[float]]]]] = {
        run.environment: {variant: [] for variant in variants} for run, _ in finished
    }
    for run, curve in finished:
        points = [(float(getattr(p, over)), p.mean_return) for p in curve if p.mean_return is not None]
        if points:
            found[run.environment][run.row].append(([x for x, _ in points], [y for _, y in points]))
    return found


RUN_COLUMNS = ("row", "algorithm", "environment", "seed", "timesteps", "n_envs", "settings", "normalize", "wall_time")
RESULT_COLUMNS = ("final_return", "episodes", "steps_trained", "steps_per_second", "seconds")


def write_runs(path: Path, rows: Sequence[Record]) -> None:
    """Write ``runs.csv``: one row a run.

    :param path: The file
    :param rows: The comparison
    """
    lines = []
    for row in rows:
        run, result = row.run, row.result
        settings = json.dumps(dict(run.settings), sort_keys=True)
        around = json.dumps(dict(run.normalize), sort_keys=True) if run.normalize is not None else None
        which = [run.row, run.algorithm, run.environment, run.seed, run.timesteps, run.n_envs]
        identity = [*which, settings, around, run.wall_time]
        values: list[object] = [None] * len(RESULT_COLUMNS)
        versions = ""
        if result is not None:
            speed, seconds = round(result.steps_per_second, 1), round(result.seconds, 3)
            values = [result.final_return, result.episodes, result.steps, speed, seconds]
            versions = json.dumps(result.versions)
        lines.append([*identity, *values, row.state, row.reason, versions])
    write_csv(path, [*RUN_COLUMNS, *RESULT_COLUMNS, "state", "reason", "versions"], lines)


def write_curves(path: Path, rows: Sequence[Record]) -> None:
    """Write ``curves.csv``: one row a point of a learning curve.

    :param path: The file
    :param rows: The comparison
    """
    lines = [
        [row.run.row, row.run.algorithm, row.run.environment, row.run.seed, *point]
        for row in rows
        if row.result is not None
        for point in row.result.curve
    ]
    write_csv(path, ["row", "algorithm", "environment", "seed", *CurvePoint._fields], lines)
