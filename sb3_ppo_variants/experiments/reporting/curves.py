"""Learning curves as pictures, with matplotlib's object interface: no global state, no display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_ppo_variants.experiments.engine.records import Record, select
from sb3_ppo_variants.experiments.runs.registry import PEERS, REFERENCE
from sb3_ppo_variants.experiments.stats.estimators import common_grid, curve_band
from sb3_ppo_variants.files import atomic, safe_name

# Okabe and Ito's palette, told apart with every common colour blindness; yellow is left out, pale on white, and black
# is for the reference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LABEL_LENGTH = 20
MOST_LINES = 7  # in one panel: more cannot be told apart
MOST_POINTS = 200  # of a line

Groups = Mapping[str, Sequence[str]]
Panel = tuple[str, list[str], list[str]]

AXES = {"timesteps": "environment steps", "seconds": "seconds of training, one thread"}


def draw_curves(rows: Sequence[Record], out: Path, groups: Groups | None = None) -> list[Path]:
    """Draw ``curves-<environment>.png`` for each environment in which a run has finished.

    :param rows: The comparison
    :param out: Folder for the pictures
    :param groups: See :func:`panels`
    :return: The files written
    """
    environments = dict.fromkeys(r.run.environment for r in rows if r.result is not None)
    shared = panels(list(dict.fromkeys(r.run.variant for r in rows)), groups)
    return [
        save(curve_figure(rows, environment, "timesteps", shared), out / f"curves-{safe_name(environment)}.png")
        for environment in environments
    ]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically.

    :param figure: The figure
    :param path: The file
    :return: The file
    """
    canvas = FigureCanvasAgg(figure)
    with atomic(path) as temporary:
        canvas.print_png(str(temporary))
    return path


def panels(names: Sequence[str], groups: Groups | None = None) -> list[Panel]:
    """How rows are shared out among panels, so that the lines of each can be told apart.

    :param names: All rows
    :param groups: Title of a panel → its rows; rows in no group are drawn in every panel. Without groups, and with
        many rows, there are as many in each as can be told apart
    :return: Title, rows in colour, and rows to compare them with, for each panel
    """
    if len(names) <= MOST_LINES:
        return [("", list(names), [])]
    if groups:
        grouped = {name for members in groups.values() for name in members}
        others = [name for name in names if name not in grouped]
        chosen = [(title, [n for n in members if n in names], others) for title, members in groups.items()]
        return [panel for panel in chosen if panel[1]]
    others = [name for name in names if name == REFERENCE]
    rest = [name for name in names if name not in others]
    size = MOST_LINES - 1
    return [("", rest[i : i + size], others) for i in range(0, len(rest), size)]


def styles(names: Sequence[str], others: Sequence[str], peers: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of the rows of a panel.

    :param names: Rows in colour
    :param others: Rows to compare them with, in shades of black
    :param peers: Rows drawn dashed, for a peer must not hide ours
    """
    chosen = {
        name: ("#000000" if name == REFERENCE else COLOURS[i % len(COLOURS)], "--" if name in peers else "-")
        for i, name in enumerate(names)
    }
    shades = ("#000000", "#777777", "#AAAAAA")
    return chosen | {name: (shades[i % len(shades)], "--") for i, name in enumerate(others)}


def curve_figure(rows: Sequence[Record], environment: str, over: str, shared: Sequence[Panel]) -> Figure:
    """Learning curves of one environment.

    :param rows: The comparison
    :param environment: Gymnasium id
    :param over: ``"timesteps"`` or ``"seconds"``
    :param shared: What is drawn in which panel
    """
    alone = len(shared) == 1 and not shared[0][0]
    figure = Figure(figsize=(9.0 if alone else 4.8 * len(shared), 5.0), dpi=150 if alone else 110, layout="constrained")
    grid = figure.subplots(1, len(shared), sharey=True, sharex=True, squeeze=False)[0]
    counts: set[int] = set()
    for axes, (title, coloured, others) in zip(grid, shared, strict=True):
        counts |= _draw_panel(axes, rows, environment, over, coloured, others)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel(AXES[over])
        if not alone:
            axes.legend(frameon=False, fontsize=9, loc="best")
    grid[0].set_ylabel("return, mean of the last 100 episodes")
    if alone:
        figure.legend(loc="outside right upper", frameon=False)
    n = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} to {max(counts, default=0)}"
    band = ", 95 % bootstrap band" if max(counts, default=0) > 1 else ""
    narrow = len(shared) == 1 and not alone
    heading = f"{environment}:{chr(10) if narrow else ' '}mean over runs{band}, n = {n}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12)
    return figure


def _draw_panel(
    axes: Axes, rows: Sequence[Record], environment: str, over: str, coloured: Sequence[str], others: Sequence[str]
) -> set[int]:
    peers = [r.run.variant for r in rows if r.run.algorithm in PEERS]
    counts = set()
    for name, (colour, style) in styles(coloured, others, peers).items():
        n = _draw_row(axes, select(rows, name, environment), over, name, colour, style)
        counts |= {n} if n else set()
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return counts


def _draw_row(axes: Axes, rows: Sequence[Record], over: str, name: str, colour: str, style: str) -> int:
    curves = []
    for row in rows:
        points = [] if row.result is None else [p for p in row.result.curve if p.mean_return is not None]
        if points:
            curves.append(([float(getattr(p, over)) for p in points], [p.mean_return or 0.0 for p in points]))
    if not curves:
        return 0
    grid, returns = common_grid(curves)
    if len(grid) > MOST_POINTS:
        chosen = np.linspace(0, len(grid) - 1, MOST_POINTS).round().astype(int)
        grid, returns = grid[chosen], returns[:, chosen]
    mean, low, high = curve_band(returns)
    marker = "o" if len(grid) == 1 else ""
    axes.plot(grid, mean, color=colour, linestyle=style, linewidth=1.6, marker=marker, label=short(name))
    if len(curves) > 1:
        axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)
    return len(curves)


def short(name: str) -> str:
    """A legend must leave room for the curves.

    :param name: Of a row
    """
    return name if len(name) <= LABEL_LENGTH else f"…{name[1 - LABEL_LENGTH :]}"
