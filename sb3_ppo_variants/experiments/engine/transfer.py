"""Runs that outlive their store: read from CSV files and ledgers made elsewhere, and written for others."""

import gzip
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sb3_ppo_variants.experiments.engine.records import (
    CURVES,
    NOT_RECORDED,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    RUNS,
    Record,
    conflicts,
    made_with,
    write_curves,
    write_runs,
)
from sb3_ppo_variants.experiments.engine.storage import readable, storage_url, study_names, without_password
from sb3_ppo_variants.experiments.engine.store import Store, open_store
from sb3_ppo_variants.experiments.runs.provenance import installed, versions
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.files import atomic

MADE_WITH = "made_with.json"  # written by hand beside files of releases that recorded less
_LATER = ("row", "normalize", "wall_time", "vec_env")  # columns that the first versions did not write
_IDENTITY = ["row", "algorithm", "environment", "seed"]  # columns of both files; newer curves have the run's number


def import_sources(imports: str | Path | Iterable[str | Path]) -> list[str]:
    """What is to be imported, as :func:`import_runs` takes it.

    :param imports: A source or several
    """
    return [os.fspath(one) for one in ([imports] if isinstance(imports, str | Path) else imports)]


def import_runs(store: Store, sources: Iterable[str], wants: Callable[[int], bool] = lambda _seed: True) -> list[str]:
    """Put finished runs made elsewhere into a store. Of runs with equal keys the first is kept.

    :param store: The store
    :param sources: Folders with a ledger, or with ``runs.csv`` and ``curves.csv`` (or with ``.gz``), or both; such
        files, or ledgers (a database file or URL)
    :param wants: Whether the store takes the runs with a seed
    :return: For each source, in words: how many runs came from it, and how they differ from those of the store and from
        what this machine would make
    :raises ValueError: if a source is not readable
    """
    have = {record.run.key(): record for record in store.all_records() if record.state == "done"}
    notes = []
    for source in sources:
        found = [record for record in read_runs(source) if record.state == "done" and wants(record.run.seed)]
        new = {r.run.key(): r for r in reversed(found) if r.run.key() not in have}
        differing = [r for r in found if r.run.key() in have and conflicts(r, have[r.run.key()])]
        for record in new.values():
            store.add(record)
        have |= new
        note = f"imported from {without_password(source)}: {len(found)} finished runs, {len(new)} of them new"
        if differing:
            labels = ", ".join(r.run.label() for r in differing)
            note += f"; other returns than those in the store, which are kept: {labels}"
        notes.append(note + _made_with(list(new.values())))
    return notes


def _made_with(records: Sequence[Record]) -> str:
    parts = []
    for name, there in made_with(records).items():
        here = versions().get(name) or installed(name)
        if others := [version for version in there if version not in (here, NOT_RECORDED)]:
            parts.append(f"{name} {' and '.join(others)}, here {here or 'none'}")
    return f"; made with {'; '.join(parts)}" if parts else ""


def check_export(folder: Path, store: Store | None = None, runs: Iterable[Run] = ()) -> None:
    """Refuse a folder that :func:`export_runs` will refuse, before anything runs.

    :param folder: The folder
    :param store: The store; ``None`` where it is not known which runs will be done
    :param runs: The runs that are to be done
    :raises ValueError: if it is a file, or holds other runs
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: export to a folder")
    done = None if store is None else {r.run.key() for r in store.all_records() if r.state == "done"}
    _refuse_to_replace(folder, None if done is None else done | {run.key() for run in runs})


def export_runs(stores: Iterable[Store], folder: Path) -> list[Path]:
    """Write all finished runs of stores as ``runs.csv.gz`` and ``curves.csv.gz``.

    :param stores: The stores
    :param folder: The folder to write to
    :return: The files
    :raises ValueError: if it holds runs that are not among these
    """
    records = {r.run.key(): r for store in stores for r in store.all_records() if r.state == "done"}
    _refuse_to_replace(folder, records.keys())
    files = [folder / f"{name}.gz" for name in (RUNS, CURVES)]
    for path, write in zip(files, (write_runs, write_curves), strict=True):
        with tempfile.TemporaryDirectory() as scratch, atomic(path) as packed:
            plain = Path(scratch) / path.stem
            write(plain, list(records.values()))
            with packed.open("wb") as file, gzip.GzipFile(path.stem, "wb", fileobj=file, mtime=0) as compressed:
                compressed.write(plain.read_bytes())
    return files


def _refuse_to_replace(folder: Path, by: Collection[str] | None) -> None:
    packed = folder / f"{RUNS}.gz"
    if (folder / RUNS).is_file() or (by is not None and not _finished_in(packed) <= set(by)):
        raise ValueError(f"{folder} holds other runs, which an export would replace: export to another folder")


def _finished_in(path: Path) -> set[str]:
    return {r.run.key() for r in _read_files(path) if r.state == "done"} if path.is_file() else set()


def read_runs(source: str) -> list[Record]:
    """The runs in a folder, file or ledger.

    :param source: See :func:`import_runs`
    :raises ValueError: if it is not readable
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path)
    if "://" not in source and not path.is_file():
        raise ValueError(f"There is nothing to import at {source}: give a folder, a {RUNS}, a ledger or a database URL")
    if path.name.endswith((".csv", ".csv.gz")):
        return _read_files(path)
    return _read_ledger(source if "://" in source else str(path))


def _read_folder(path: Path) -> list[Record]:
    """The runs in its files, and those that its ledger has beside these: a report may be of a part of the ledger."""
    ledger = path / "ledger.db"
    files = [path / name for name in (RUNS, f"{RUNS}.gz") if (path / name).is_file()]
    if not files and not ledger.is_file():
        raise ValueError(f"{path} holds neither {RUNS} nor {RUNS}.gz nor ledger.db: give a folder with finished runs")
    records = _read_files(files[0]) if files else []
    if not ledger.is_file():
        return records
    done = {record.run.key() for record in records if record.state == "done"}
    return records + [r for r in _read_ledger(str(ledger)) if r.run.key() not in done]


def _read_ledger(source: str) -> list[Record]:
    records = []
    with readable(storage_url(source, Path())) as url:
        for name in study_names(url):
            with open_store(url, name, write=False) as store:
                records += store.all_records()
    return [_from(record, source) for record in records]


def _from(record: Record, source: str) -> Record:
    origin = record.imported_from or without_password(source)
    return Record(record.run, record.state, record.result, record.reason, origin)


def _read_files(path: Path) -> list[Record]:
    # Newer files have further columns; text, because pandas would guess types and round.
    table = _table(path, [*RUN_COLUMNS, *RESULT_COLUMNS, "state", "versions"])
    beside = path.with_name(path.name.replace("runs", "curves", 1))
    curves: dict[tuple[str, ...], list[list[CurvePoint]]] = {}
    identity = _IDENTITY
    if beside != path and beside.is_file():
        points = _table(beside, [*_IDENTITY, *CurvePoint._fields])
        identity = [*_IDENTITY, "run"] if "run" in table.columns and "run" in points.columns else _IDENTITY
        try:
            curves = _curves(points, identity)
        except ValueError as error:
            raise ValueError(f"{beside} has a line that is not a point of a curve: {error}") from error
    noted, records = _noted(path.with_name(MADE_WITH)), []
    for number, line in enumerate(table.to_dict("records"), 2):
        try:
            of_run = curves.get(tuple(str(line[column]) for column in identity), [])
            records.append(_record(line, of_run, str(path), noted))
        except (ValueError, TypeError, KeyError) as error:  # noqa: PERF203 (it names the line)
            raise ValueError(f"{path}, line {number}, is not a run: {error}") from error
    return records


def _noted(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: found[name] for name in ("commit", "python", "mujoco", "processor") if name in found}


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not readable as a CSV file: {error}") from error
    table = table.assign(**{column: "" for column in _LATER if column not in table.columns})
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"{path} has no columns {', '.join(missing)}: give files that compare has written")
    return table


def _curves(table: pd.DataFrame, identity: Sequence[str]) -> dict[tuple[str, ...], list[list[CurvePoint]]]:
    """Identity → its curves in the order of the file. Earlier versions did not write which run's a point is: there a
    new curve begins where steps or seconds fall."""
    found: dict[tuple[str, ...], list[list[CurvePoint]]] = {}
    for line in table.to_dict("records"):
        number = lambda name: float(line[name]) if line[name] else None  # noqa: B023, E731 (used at once)
        point = CurvePoint(int(line["timesteps"]), float(line["seconds"]), number("mean_return"), number("mean_length"))
        curves = found.setdefault(tuple(str(line[column]) for column in identity), [])
        last = curves[-1][-1] if curves else point
        if point.timesteps <= last.timesteps or point.seconds < last.seconds:
            curves.append([])
        curves[-1].append(point)
    return found


def _record(line: Mapping[Any, str], curves: list[list[CurvePoint]], source: str, noted: Mapping[str, str]) -> Record:
    run = Run(
        line["algorithm"],
        line["environment"],
        int(line["seed"]),
        int(line["timesteps"]),
        int(line["n_envs"]),
        json.loads(line["settings"]),
        None if line["row"] in ("", line["algorithm"]) else line["row"],
        json.loads(line["normalize"]) if line["normalize"] else None,
        json.loads(line["wall_time"]) if line["wall_time"] else None,  # 60 stays 60: it is part of the run's key
        line["vec_env"] or None,
    )
    if line["state"] != "done":
        return Record(run, "missing")
    final_return = float(line["final_return"])
    if not math.isfinite(final_return):
        raise ValueError(f"it is done, and its final return is {final_return}")
    result = Result(
        final_return,
        int(line["episodes"]),
        int(line["steps_trained"]),
        float(line["seconds"]),
        curves.pop(0) if curves else [],
        {**noted, **json.loads(line["versions"])},
    )
    return Record(run, "done", result, imported_from=line.get("imported_from") or source)
