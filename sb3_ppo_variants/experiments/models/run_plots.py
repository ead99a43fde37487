"""Plot run folders: ours, a comparison's, SB3's monitor files (rl_zoo3's logs too), or SB3's CSV log."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_ppo_variants.experiments.engine.records import Record, learning_curves
from sb3_ppo_variants.experiments.models.training import CURVE, RUN
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, draw_curves
from sb3_ppo_variants.experiments.runs.registry import PEERS, REFERENCE
from sb3_ppo_variants.experiments.runs.run import CURVE_POINTS, SCORE_EPISODES, CurvePoint, Result, Run
from sb3_ppo_variants.files import atomic, safe_name

COMPARISON = "curves.csv"
PROGRESS = "progress.csv"
UNKNOWN = "unknown environment"


class Panel(NamedTuple):
    """One panel of the diagnostics.

    :param title: What it shows
    :param keys: Log keys, drawn together
    :param low: Look into it below this (see the README's table); ``None``: no lower limit
    :param high: Look into it above this; ``None``: no upper limit
    """

    title: str
    keys: tuple[str, ...]
    low: float | None = None
    high: float | None = None


PANELS = (
    Panel("KL(old‖new), nats", ("train/kl", "train/approx_kl"), high=0.05),
    Panel(
        "share of samples outside the band",
        ("train/clip_fraction", "train/clip_fraction_low", "train/clip_fraction_high"),
        high=0.3,
    ),
    Panel("effective sample size, share of N", ("train/ess",), low=0.5),
    Panel("largest ratio", ("train/ratio_max",), high=10.0),
    Panel("KL coefficient β", ("train/kl_coef",)),
    Panel("line search succeeded", ("train/is_line_search_success",)),
    Panel("entropy, nats", ("train/entropy_loss",)),
    Panel("standard deviation of the policy", ("train/std",)),
    Panel("explained variance of the critic", ("train/explained_variance",), low=0.0),
    Panel("value loss", ("train/value_loss",)),
    Panel("gradient norm", ("train/grad_norm",)),
    Panel("learning rate", ("train/learning_rate",)),
)


def plot_runs(paths: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Draw the learning curves of run folders, one picture an environment, and the diagnostics of each run that has a
    ``progress.csv``.

    Runs of one algorithm in one environment are drawn as their mean with a 95 % band; a run whose algorithm is not
    written down goes by the name of its folder.

    :param paths: Run folders, or folders that hold some
    :param out: Folder for the pictures; by default the only folder given, ``runs/plots`` for several
    :return: The files written
    """
    folders = [Path(path) for path in paths]
    if not folders:
        raise ValueError("Give at least one run folder")
    target = Path(out) if out is not None else folders[0] if len(folders) == 1 else Path("runs/plots")
    found = [(folder, rows) for top in folders for folder, rows in find_runs(top)]
    drawn = [row for _, rows in found for row in rows if row.result and _has_return(row.result)]
    peers = {row.run.row for row in drawn if row.run.algorithm in PEERS}
    files = draw_curves(learning_curves(drawn), target, reference=REFERENCE, dashed=peers)
    logged = [folder for folder, _ in found if (folder / PROGRESS).is_file()]
    for folder in logged:
        name = "diagnostics" if len(found) == 1 else f"diagnostics-{safe_name(_name(folder))}"
        files += _draw_diagnostics(folder, target / f"{name}.png")
    if not files:
        raise ValueError(f"No episode has ended in {', '.join(map(str, folders))}: there is no curve to draw yet")
    return files


# ---- What a folder holds ----


def find_runs(top: Path) -> list[tuple[Path, list[Record]]]:
    """The run folders in a folder, itself included, and the learning curves in them.

    :param top: The folder
    :return: Folder and rows, in alphabetical order; the final return of a row is its curve's last point
    """
    if not top.is_dir():
        raise ValueError(f"There is no folder {top}")
    folders = [top, *sorted(folder for folder in top.rglob("*") if folder.is_dir())]
    found = [(folder, rows) for folder in folders if (rows := _rows(folder))]
    if not found:
        raise ValueError(
            f"There is no run in {top}: neither {RUN} with {CURVE}, nor a comparison's {COMPARISON}, nor SB3's "
            f"monitor.csv or {PROGRESS}, in it or below it"
        )
    return found


def _rows(folder: Path) -> list[Record]:
    if (folder / COMPARISON).is_file():
        return _of_comparison(folder / COMPARISON)
    if (folder / RUN).is_file() and (folder / CURVE).is_file():
        return [_of_training(folder)]
    if monitors := sorted(folder.glob("*monitor.csv")):
        return [_of_monitors(folder, monitors)]
    return [_of_progress(folder)] if (folder / PROGRESS).is_file() else []


def _of_training(folder: Path) -> Record:
    described = json.loads((folder / RUN).read_text(encoding="utf-8"))["run"]
    return _row(_points(_read(folder / CURVE)), **described)


def _of_comparison(path: Path) -> list[Record]:
    lines: dict[tuple[str, str, str, int], list[dict[str, str]]] = {}
    for line in _read(path):
        algorithm = line["algorithm"]
        key = (line.get("row", algorithm), algorithm, line["environment"], int(line["seed"]))
        lines.setdefault(key, []).append(line)
    return [
        _row(_points(run), algorithm=algorithm, environment=environment, seed=seed, name=name)
        for (name, algorithm, environment, seed), run in lines.items()
    ]


def _of_monitors(folder: Path, monitors: Sequence[Path]) -> Record:
    """SB3's Monitor files: one an environment, a line an episode, in the order in which the episodes ended."""
    episodes: list[tuple[float, float, int]] = []
    environment = None
    for path in monitors:
        with path.open(encoding="utf-8", newline="") as file:
            header = json.loads(file.readline().lstrip("#"))
            environment = environment or header.get("env_id")
            start = float(header.get("t_start", 0))
            episodes += [(start + float(e["t"]), float(e["r"]), int(e["l"])) for e in csv.DictReader(file)]
    episodes.sort()
    environment = environment or UNKNOWN
    return _row(_monitor_curve(episodes), algorithm=_algorithm_of(folder, environment), environment=environment)


def _monitor_curve(episodes: Sequence[tuple[float, float, int]]) -> list[CurvePoint]:
    """Means over the last 100 episodes, as in our own curves, thinned."""
    if not episodes:
        return []
    times, returns, lengths = (np.asarray(column, dtype=float) for column in zip(*episodes, strict=True))
    steps = np.cumsum(lengths)
    last = np.unique(np.linspace(0, len(episodes) - 1, min(len(episodes), CURVE_POINTS)).round().astype(int))
    windows = [slice(max(0, i + 1 - SCORE_EPISODES), i + 1) for i in last]
    return [
        CurvePoint(int(steps[i]), float(times[i] - times[0]), float(returns[w].mean()), float(lengths[w].mean()))
        for i, w in zip(last, windows, strict=True)
    ]


def _of_progress(folder: Path) -> Record:
    points = [
        CurvePoint(int(steps), 0.0, mean_return, None)
        for steps, mean_return in _series(_read(folder / PROGRESS), "rollout/ep_rew_mean")
    ]
    return _row(points, algorithm=_name(folder), environment=UNKNOWN)


def _has_return(result: Result) -> bool:
    return any(point.mean_return is not None for point in result.curve)


def _row(points: list[CurvePoint], **described: Any) -> Record:
    run = Run(**{"seed": 0, "timesteps": max(1, points[-1].timesteps if points else 1), **described})
    final = points[-1].mean_return if points else None
    return Record(run, "done", Result(final, 0, run.timesteps, 0.0, points, {}))


def _points(lines: Sequence[dict[str, str]]) -> list[CurvePoint]:
    return [
        CurvePoint(int(line["timesteps"]), float(line["seconds"]), _number(line["mean_return"]), None) for line in lines
    ]


def _name(folder: Path) -> str:
    """What a run without a description goes by, also where the folder was given as ``.``."""
    return folder.resolve().name


def _algorithm_of(folder: Path, environment: str) -> str:
    """rl_zoo3 keeps runs in ``<algorithm>/<environment>_<number>``; any other folder goes by its own name."""
    name = _name(folder)
    if re.fullmatch(rf"{re.escape(environment.replace('/', '-'))}_\d+", name):
        return folder.resolve().parent.name
    return name


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _series(lines: Sequence[dict[str, str]], key: str) -> Iterator[tuple[float, float]]:
    """Steps and value, where a line has both."""
    for line in lines:
        steps, value = _number(line.get("time/total_timesteps")), _number(line.get(key))
        if steps is not None and value is not None:
            yield steps, value


# ---- Diagnostics ----


def _draw_diagnostics(folder: Path, path: Path) -> list[Path]:
    lines = _read(folder / PROGRESS)
    panels = [panel for panel in PANELS if any(list(_series(lines, key)) for key in panel.keys)]
    if not panels:
        return []
    columns = 3 if len(panels) > 4 else 2
    n_rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * n_rows), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{_name(folder)}: what the updates say (shaded: look into it)", x=0.01, ha="left")
    for i, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(n_rows, columns, i + 1), panel, lines)
    with atomic(path) as temporary:
        canvas.print_png(str(temporary))
    return [path]


def _draw_panel(axes: Axes, panel: Panel, lines: Sequence[dict[str, str]]) -> None:
    keys = [key for key in panel.keys if list(_series(lines, key))]
    for key, colour in zip(keys, COLOURS, strict=False):
        steps, values = zip(*_series(lines, key), strict=True)
        sign = -1 if key == "train/entropy_loss" else 1  # SB3 logs the loss, minus the entropy
        marker = "o" if len(steps) == 1 else ""
        label = key.removeprefix("train/")
        axes.plot(steps, sign * np.asarray(values), color=colour, linewidth=1.5, marker=marker, label=label)
    bottom, top = axes.get_ylim()
    if panel.high is not None and top > panel.high:
        axes.axhspan(panel.high, top, color=COLOURS[1], alpha=0.12, linewidth=0)
    if panel.low is not None and bottom < panel.low:
        axes.axhspan(bottom, panel.low, color=COLOURS[1], alpha=0.12, linewidth=0)
    axes.set_ylim(bottom, top)
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(keys) > 1:
        axes.legend(frameon=False, fontsize=8)
