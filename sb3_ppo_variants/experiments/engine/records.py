"""Records: what is kept of runs, and ``runs.csv`` and ``curves.csv`` written from them."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sb3_ppo_variants.backends import KERNEL_PACKAGES
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.files import write_csv

State = Literal["done", "failed", "missing"]

RUNS, CURVES = "runs.csv", "curves.csv"
NOT_RECORDED = "not recorded"
MIXED = "†"  # marks a row of a table whose runs were made with different software or processors


@dataclasses.dataclass(frozen=True)
class Record:
    """A run and its outcome.

    :param run: The run
    :param state: ``"missing"``: it has not ended yet
    :param result: The result of a run that is done
    :param reason: Why the run failed, if it did: ``"config: …"``, ``"env: …"``, ``"nan: …"``, ``"timeout: …"`` (see
        :mod:`.runs.guard`) or ``"lost: …"``
    :param imported_from: Where the run was made, if it was imported
    """

    run: Run
    state: State
    result: Result | None = None
    reason: str | None = None
    imported_from: str | None = None


def conflicts(one: Record, other: Record) -> bool:
    """Whether two records of equal runs have different results: wall time aside, they should be equal to the bit.

    :param one: A record
    :param other: Another one with an equal run
    """
    if one.result is None or other.result is None:
        return False
    return (one.result.final_return, one.result.steps) != (other.result.final_return, other.result.steps)


def select(records: Sequence[Record], variant: str, environment: str) -> list[Record]:
    """The records of one variant in one environment.

    :param records: Records of any runs
    :param variant: Name of the variant
    :param environment: Gymnasium id
    """
    return [r for r in records if r.run.variant == variant and r.run.environment == environment]


def scores(records: Sequence[Record], variant: str, environment: str) -> list[float]:
    """Final returns of the finished runs of one variant in one environment, in the order of the records.

    :param records: Records of any runs
    :param variant: Name of the variant
    :param environment: Gymnasium id
    """
    results = [r.result for r in select(records, variant, environment) if r.result is not None]
    return [result.final_return for result in results if result.final_return is not None]


def complete_environments(records: Sequence[Record], variants: Sequence[str]) -> list[str]:
    """Environments in which every variant has a finished run.

    :param records: Records of any runs
    :param variants: Names of the variants
    """
    environments = dict.fromkeys(r.run.environment for r in records)
    return [e for e in environments if all(scores(records, name, e) for name in variants)]


def made_with(records: Sequence[Record], among: Sequence[Record] = ()) -> dict[str, list[str]]:
    """Package, or another key of :func:`.provenance.versions`, → the versions that finished runs were made with.

    Among them is :data:`NOT_RECORDED` if another run in the same environment has a version: earlier releases recorded
    less.

    :param records: Records of any runs
    :param among: Other runs, such as those of the whole comparison, that show what can be recorded in an environment
    """
    finished = [(r.run.environment, r.result.versions) for r in records if r.result is not None]
    recorded: dict[str, dict[str, None]] = {}
    for record in (*records, *among):
        if record.result is not None:
            recorded.setdefault(record.run.environment, {}).update(dict.fromkeys(record.result.versions))
    found: dict[str, set[str]] = {}
    for environment, versions in finished:
        for package in recorded[environment]:
            if package in versions or package not in KERNEL_PACKAGES:
                found.setdefault(package, set()).add(versions.get(package, NOT_RECORDED))
    return {package: sorted(values) for package, values in found.items()}


def is_mixed(variant: str, records: Sequence[Record]) -> bool:
    """Whether the runs of one variant were made with different software or processors.

    :param variant: Its name
    :param records: Records of all variants
    """
    own = [record for record in records if record.run.variant == variant]
    return any(len(values) > 1 for values in made_with(own, records).values())


def version_note(records: Sequence[Record]) -> str | None:
    """A warning if runs were made with different software or processors, otherwise ``None``.

    :param records: Records of any runs
    """
    mixed = [f"{name} {' and '.join(values)}" for name, values in made_with(records).items() if len(values) > 1]
    if not mixed:
        return None
    rows = [v for v in dict.fromkeys(r.run.variant for r in records) if is_mixed(v, records)]
    within = f". Within one row (marked {MIXED}): {', '.join(rows)}" if rows else ""
    return f"The runs were made with different versions: {', '.join(mixed)}{within}"


def import_note(records: Sequence[Record]) -> str | None:
    """Which runs were made elsewhere, ``None`` if all were made here.

    :param records: Records of any runs
    """
    sources = Counter(r.imported_from for r in records if r.imported_from is not None)
    return f"Imported: {', '.join(f'{n} runs from {where}' for where, n in sources.items())}" if sources else None


#: Environment → variant → timesteps or seconds, and returns, of each run.
LearningCurves = dict[str, dict[str, list[tuple[list[float], list[float]]]]]


def learning_curves(records: Sequence[Record], over: str = "timesteps") -> LearningCurves:
    """Learning curves of the finished runs, from the first point with a return.

    :param records: Records of any runs
    :param over: ``"timesteps"`` or ``"seconds"``
    :return: Environment → variant → timesteps or seconds, and returns, of each run
    """
    finished = [(r.run, r.result.curve) for r in records if r.result is not None]
    variants = dict.fromkeys(r.run.variant for r in records)
    found: LearningCurves = {run.environment: {variant: [] for variant in variants} for run, _ in finished}
    for run, curve in finished:
        points = [(float(getattr(p, over)), p.mean_return) for p in curve if p.mean_return is not None]
        if points:
            found[run.environment][run.variant].append(([x for x, _ in points], [y for _, y in points]))
    return found


RUN_COLUMNS = (
    "row",
    "algorithm",
    "environment",
    "seed",
    "timesteps",
    "n_envs",
    "settings",
    "normalize",
    "wall_time",
    "vec_env",
)
RESULT_COLUMNS = ("final_return", "episodes", "steps_trained", "steps_per_second", "seconds")


def write_runs(path: Path, records: Sequence[Record]) -> None:
    """Write ``runs.csv``: one line per run. The column ``run`` has its number, by which ``curves.csv`` refers to it.

    :param path: The file
    :param records: The runs
    """
    lines = []
    for number, record in enumerate(records, 1):
        run, result = record.run, record.result
        settings = json.dumps(dict(run.settings), sort_keys=True)
        normalize = None if run.normalize is None else json.dumps(dict(run.normalize), sort_keys=True)
        identity = [run.variant, run.algorithm, run.environment, run.seed, run.timesteps, run.n_envs]
        values: list[object] = [None] * len(RESULT_COLUMNS)
        versions = ""
        if result is not None:
            speed, seconds = round(result.steps_per_second, 1), round(result.seconds, 3)
            values = [result.final_return, result.episodes, result.steps, speed, seconds]
            versions = json.dumps(result.versions)
        ended = [record.state, record.reason, versions, record.imported_from]
        lines.append([*identity, settings, normalize, run.wall_time, run.vec_env, *values, *ended, number])
    write_csv(path, [*RUN_COLUMNS, *RESULT_COLUMNS, "state", "reason", "versions", "imported_from", "run"], lines)


def write_curves(path: Path, records: Sequence[Record]) -> None:
    """Write ``curves.csv``: one line per point of a learning curve.

    :param path: The file
    :param records: The runs, in the order of ``runs.csv``
    """
    lines = [
        [record.run.variant, record.run.algorithm, record.run.environment, record.run.seed, number, *point]
        for number, record in enumerate(records, 1)
        if record.result is not None
        for point in record.result.curve
    ]
    write_csv(path, ["row", "algorithm", "environment", "seed", "run", *CurvePoint._fields], lines)
