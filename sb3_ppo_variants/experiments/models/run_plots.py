"""Plot run folders: ours, a comparison's, SB3's monitor files (also in rl_zoo3's logs), or SB3's CSV log."""

import csv
import dataclasses
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_ppo_variants.experiments.engine.kept_models import MODELS
from sb3_ppo_variants.experiments.engine.records import Record, learning_curves
from sb3_ppo_variants.experiments.models.monitor_files import read_monitor
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, LABEL_LENGTH, draw_curves, save, style_axes
from sb3_ppo_variants.experiments.runs.folders import CURVE, RUN, read_run
from sb3_ppo_variants.experiments.runs.registry import PEERS, REFERENCE
from sb3_ppo_variants.experiments.runs.run import CURVE_POINTS, SCORE_EPISODES, CurvePoint, Result, Run
from sb3_ppo_variants.files import safe_names

COMPARISON = "curves.csv"
PROGRESS = "progress.csv"
UNKNOWN = "unknown environment"
STEPS = "time/total_timesteps"  # SB3's log key


class Diagnostic(NamedTuple):
    """One panel of the diagnostics.

    :param title: Its title
    :param keys: Log keys that it shows
    :param low: Values below this need attention (see the table of diagnostics); ``None``: no lower limit
    :param high: Values above this need attention; ``None``: no upper limit
    """

    title: str
    keys: tuple[str, ...]
    low: float | None = None
    high: float | None = None


DIAGNOSTICS = (
    Diagnostic("KL(old‖new), nats", ("train/kl", "train/approx_kl"), high=0.05),
    Diagnostic(
        "share of samples outside the band",
        ("train/clip_fraction", "train/clip_fraction_low", "train/clip_fraction_high"),
        high=0.3,
    ),
    Diagnostic("effective sample size, share of N", ("train/ess",), low=0.5),
    Diagnostic("largest ratio", ("train/ratio_max",), high=10.0),
    Diagnostic("KL coefficient β", ("train/kl_coef",)),
    Diagnostic("line search succeeded", ("train/is_line_search_success",)),
    Diagnostic("entropy, nats", ("train/entropy_loss",)),
    Diagnostic("standard deviation of the policy", ("train/std",)),
    Diagnostic("explained variance of the critic", ("train/explained_variance",), low=0.0),
    Diagnostic("value loss", ("train/value_loss",)),
    Diagnostic("gradient norm", ("train/grad_norm",)),
    Diagnostic("learning rate", ("train/learning_rate",)),
)


def plot_runs(paths: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Draw the learning curves of run folders, one picture per environment, and the diagnostics of each run that has a
    ``progress.csv``.

    Runs of one algorithm in one environment with the same settings are drawn as their mean with a 95 % band. A run
    whose algorithm is unknown is named after its folder.

    :param paths: Run folders, or folders that contain some
    :param out: Folder for the pictures; by default the given folder, or ``runs/plots`` if there are several
    :return: The files written
    :raises ValueError: if there is no run, no finished episode, or a file that cannot be read
    """
    folders = [Path(path).expanduser() for path in paths]
    if not folders:
        raise ValueError("Give at least one run folder")
    target = Path(out).expanduser() if out is not None else folders[0] if len(folders) == 1 else Path("runs/plots")
    # Paths may overlap, and a run counted twice would narrow its band.
    every = {folder.resolve(): (folder, records) for top in folders for folder, records in find_runs(top)}
    found = list(every.values())
    drawn = [record for record in _told_apart(found) if _has_return(record)]
    peers = {record.run.variant for record in drawn if record.run.algorithm in PEERS}
    files = draw_curves(learning_curves(drawn), target, reference=REFERENCE, dashed=peers)
    for (folder, _), name in zip(found, safe_names(_name(folder) for folder, _ in found), strict=True):
        if (folder / PROGRESS).is_file():
            stem = "diagnostics" if len(found) == 1 else f"diagnostics-{name}"
            files += _draw_diagnostics(folder, target / f"{stem}.png")
    if not files:
        raise ValueError(f"No episode has ended in {', '.join(map(str, folders))}: there is no curve to draw yet")
    return files


def _told_apart(found: Sequence[tuple[Path, list[Record]]]) -> list[Record]:
    """The records, such that only runs with equal settings have one name, as far as their settings are known.

    The settings that differ are added to it, or in place of long ones the name of the first folder that has them.
    """
    known = [(folder, r.run) for folder, records in found for r in records if (folder / RUN).is_file()]
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _, run in known:
        kinds.setdefault((run.variant, run.environment), []).append(_settings(run))
    names: dict[str, str] = {}
    for folder, run in known:
        own, others = _settings(run), kinds[run.variant, run.environment]
        differing = [f"{k}={v}" for k, v in own.items() if any(k not in o or o[k] != v for o in others)]
        name = " ".join([run.variant, ", ".join(differing)]) if differing else run.variant
        names.setdefault(_key(run), name if len(name) <= LABEL_LENGTH else f"{run.variant} {_name(folder)}")
    return [
        dataclasses.replace(r, run=dataclasses.replace(r.run, name=names[_key(r.run)])) if (f / RUN).is_file() else r
        for f, records in found
        for r in records
    ]


def _settings(run: Run) -> dict[str, Any]:
    return {**run.settings, "n_envs": run.n_envs, "normalize": run.normalize}


def _key(run: Run) -> str:
    return dataclasses.replace(run, seed=0, timesteps=1).key()


# ---- Reading run folders ----


def find_runs(top: Path) -> list[tuple[Path, list[Record]]]:
    """Find the run folders in a folder, including the folder, and read their learning curves.

    :param top: The folder
    :return: Folders and their records, in alphabetical order; the final return of a record is the last point of its
        curve
    :raises ValueError: if there is no run, or a file that cannot be read
    """
    if not top.is_dir():
        raise ValueError(f"There is no folder {top}")
    folders = [top, *sorted(folder for folder in top.rglob("*") if folder.is_dir())]
    # A comparison has the curves of the models that it keeps.
    compared = {folder / MODELS for folder in folders if (folder / COMPARISON).is_file()}
    found = [(f, records) for f in folders if f.parent not in compared and (records := _records(f))]
    if not found:
        raise ValueError(
            f"There is no run in {top}: neither {RUN} with {CURVE}, nor a comparison's {COMPARISON}, nor SB3's "
            f"monitor.csv or {PROGRESS}, in it or below it"
        )
    return found


def _records(folder: Path) -> list[Record]:
    if (folder / COMPARISON).is_file():
        return _of_comparison(folder / COMPARISON)
    if (folder / RUN).is_file() and (folder / CURVE).is_file():
        return [_record(_read(folder / CURVE, *_POINT), **read_run(folder / RUN)["run"])]
    if monitors := sorted(folder.glob("*monitor.csv")):
        return [_of_monitors(folder, monitors)]
    return [_of_progress(folder)] if (folder / PROGRESS).is_file() else []


_POINT = ("timesteps", "seconds", "mean_return")


def _of_comparison(path: Path) -> list[Record]:
    table = _read(path, "algorithm", "environment", "seed", *_POINT)
    if "row" not in table:
        table["row"] = table["algorithm"]
    runs = table.groupby(["row", "algorithm", "environment", "seed"], sort=False)
    return [
        _record(lines, algorithm=algorithm, environment=environment, seed=int(seed), name=name)
        for (name, algorithm, environment, seed), lines in runs
    ]


def _of_monitors(folder: Path, monitors: Sequence[Path]) -> Record:
    """SB3's Monitor files: one per environment, one line per episode."""
    found = [read_monitor(path) for path in monitors]
    faults = [fault for monitor in found for fault in monitor.faults]
    episodes = pd.concat([monitor.episodes for monitor in found]).sort_values(["t", "r", "l"])
    if faults and episodes.empty:
        raise ValueError("; ".join(faults))
    for fault in faults:
        warnings.warn(fault, stacklevel=2)
    environment = next((monitor.environment for monitor in found if monitor.environment), UNKNOWN)
    # Means over the last 100 episodes, as in our own curves, thinned.
    curve = pd.DataFrame(
        {
            "timesteps": episodes["l"].cumsum(),
            "seconds": episodes["t"] - episodes["t"].min(),
            "mean_return": episodes["r"].rolling(SCORE_EPISODES, min_periods=1).mean(),
        }
    )
    kept = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), CURVE_POINTS)).round().astype(int))
    return _record(curve.iloc[kept], algorithm=_algorithm_of(folder, environment), environment=environment)


def _of_progress(folder: Path) -> Record:
    returns = _series(_read(folder / PROGRESS), "rollout/ep_rew_mean")
    curve = returns.rename_axis("timesteps").reset_index(name="mean_return").assign(seconds=0.0)
    begun = read_run(folder / RUN)["run"] if (folder / RUN).is_file() else {}
    return _record(curve, **{"algorithm": _name(folder), "environment": UNKNOWN, **begun})


def _has_return(record: Record) -> bool:
    return record.result is not None and any(point.mean_return is not None for point in record.result.curve)


def _record(curve: pd.DataFrame, **described: Any) -> Record:
    points = [
        CurvePoint(int(timesteps), seconds, None if pd.isna(mean_return) else mean_return, None)
        for timesteps, seconds, mean_return in curve[[*_POINT]].itertuples(index=False)
    ]
    run = Run(**{"seed": 0, "timesteps": max(1, points[-1].timesteps if points else 1), **described})
    final = points[-1].mean_return if points else None
    return Record(run, "done", Result(final, 0, run.timesteps, 0.0, points, {}))


def _name(folder: Path) -> str:
    """The name of a run without a description, also for the folder ``.``."""
    return folder.resolve().name


def _algorithm_of(folder: Path, environment: str) -> str:
    """The algorithm's folder in rl_zoo3's ``<algorithm>/<environment>_<number>``; elsewhere the name of the folder."""
    name = _name(folder)
    if re.fullmatch(rf"{re.escape(environment.replace('/', '-'))}_\d+", name):
        return folder.resolve().parent.name
    return name


_TEXT = dict.fromkeys(("row", "algorithm", "environment"), str)


def _read(path: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV file. Lines that are cut or hold something else are left out, with a warning.

    :param path: The file
    :param columns: Columns that it must have; those that hold no text are converted to floats
    :return: The table, without lines if the file is empty; empty fields are NaN
    :raises ValueError: if it is not a CSV file with these columns
    """
    numbers = [column for column in columns if column not in _TEXT]
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return pd.DataFrame(columns=[*columns]).astype(dict.fromkeys(numbers, float))
    fields = [len(next(csv.reader([line]))) for line in lines]
    whole = [line for line, count in zip(lines, fields, strict=True) if count == fields[0]]
    options: dict[str, Any] = {"keep_default_na": False, "na_values": ["", "nan"], "index_col": False}
    table = pd.read_csv(io.StringIO("\n".join(whole)), dtype=str, **options)
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"Cannot read {path}: it has no column {', '.join(missing)}, but {', '.join(map(str, table))}")
    converted = table[numbers].apply(pd.to_numeric, errors="coerce")
    wrong = (converted.isna() & table[numbers].notna()).any(axis=1)
    if "timesteps" in numbers:
        wrong |= converted["timesteps"].isna()
    if left_out := len(lines) - 1 - len(table) + int(wrong.sum()):
        warnings.warn(f"{path}: {left_out} of {len(lines) - 1} lines cannot be read and are left out", stacklevel=3)
    table[numbers] = converted
    return table[~wrong].astype(dict.fromkeys(numbers, float))


def _series(log: pd.DataFrame, key: str) -> pd.Series:
    """The values of a log key by steps, from the lines that have numbers for both.

    :param log: SB3's CSV log
    :param key: Log key
    """
    numbers = log.reindex(columns=[STEPS, key]).apply(pd.to_numeric, errors="coerce")
    return numbers.dropna().set_index(STEPS)[key].astype(float)


# ---- Diagnostics ----


def _draw_diagnostics(folder: Path, path: Path) -> list[Path]:
    log = _read(folder / PROGRESS)
    lines = {d: {key: series for key in d.keys if len(series := _series(log, key))} for d in DIAGNOSTICS}
    shown = [diagnostic for diagnostic in DIAGNOSTICS if lines[diagnostic]]
    if not shown:
        return []
    columns = 3 if len(shown) > 4 else 2
    n_rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * n_rows), dpi=120, layout="constrained")
    figure.suptitle(f"{_name(folder)}: diagnostics of the updates (shaded: needs attention)", x=0.01, ha="left")
    for i, diagnostic in enumerate(shown):
        _draw_diagnostic(figure.add_subplot(n_rows, columns, i + 1), diagnostic, lines[diagnostic])
    return [save(figure, path)]


def _draw_diagnostic(axes: Axes, diagnostic: Diagnostic, lines: Mapping[str, pd.Series]) -> None:
    for (key, series), colour in zip(lines.items(), COLOURS, strict=False):
        sign = -1 if key == "train/entropy_loss" else 1  # SB3 logs the loss, which is minus the entropy
        marker = "o" if len(series) == 1 else ""
        label = key.removeprefix("train/")
        axes.plot(series.index, sign * series, color=colour, linewidth=1.5, marker=marker, label=label)
    bottom, top = axes.get_ylim()
    for start, end in ((diagnostic.high, top), (bottom, diagnostic.low)):
        if start is not None and end is not None and start < end:
            axes.axhspan(start, end, color=COLOURS[1], alpha=0.12, linewidth=0)
    axes.set_ylim(bottom, top)
    axes.set_title(diagnostic.title, loc="left", fontsize=10)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    style_axes(axes)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)
