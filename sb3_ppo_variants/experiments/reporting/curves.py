"""Learning curves as pictures, with matplotlib's object interface: no global state, no display."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_ppo_variants.experiments.stats.estimators import common_grid, curve_band
from sb3_ppo_variants.files import atomic, safe_names

# Okabe and Ito's palette, told apart with every common colour blindness; yellow is left out, pale on white, and black
# is for the reference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHADES = ("#000000", "#777777", "#AAAAAA")
LABEL_LENGTH = 28
MOST_LINES = 7  # in one subplot: more cannot be told apart
MOST_POINTS = 200  # of a line

#: Timesteps or seconds, and returns, of one run.
Curve = tuple[Sequence[float], Sequence[float]]
#: Label → the curves of its runs.
Curves = Mapping[str, Sequence[Curve]]
#: Title of a subplot → labels.
Groups = Mapping[str, Sequence[str]]

AXES = {"timesteps": "environment steps", "seconds": "seconds of training, one thread"}


class Subplot(NamedTuple):
    """Lines that are drawn together.

    :param title: Title; may be empty
    :param labels: Labels in colour
    :param styles: Label → colour and line style, of all lines
    """

    title: str
    labels: list[str]
    styles: dict[str, tuple[str, str]]


def subplots(
    labels: Sequence[str],
    groups: Groups | None = None,
    reference: str | None = None,
    dashed: Collection[str] = (),
) -> list[Subplot]:
    """Divide lines among subplots such that the lines of each can be told apart.

    :param labels: All labels
    :param groups: Title of a subplot → its labels; labels in no group are drawn in every subplot, in shades of black.
        Without groups each subplot has as many lines as can be told apart
    :param reference: The label that is drawn in black, and in every subplot
    :param dashed: Labels drawn with dashed lines
    """
    shared: list[str] = []
    if len(labels) <= MOST_LINES:
        shares = [("", list(labels))]
    elif groups:
        grouped = {label for members in groups.values() for label in members}
        shared = [label for label in labels if label not in grouped]
        shares = [(title, [label for label in members if label in labels]) for title, members in groups.items()]
    else:
        shared = [label for label in labels if label == reference]
        others = [label for label in labels if label != reference]
        size = MOST_LINES - 1
        shares = [("", others[i : i + size]) for i in range(0, len(others), size)]
    # Where only some labels are compared, what is left of one group may already be shown in another.
    told = [(title, own) for title, own in shares if own and not any(set(own) < set(other) for _, other in shares)]
    return [Subplot(title, own, _styles(own, shared, reference, dashed)) for title, own in told]


def _styles(
    labels: Sequence[str], shared: Sequence[str], reference: str | None, dashed: Collection[str]
) -> dict[str, tuple[str, str]]:
    coloured = {
        label: ("#000000" if label == reference else COLOURS[i % len(COLOURS)], "--" if label in dashed else "-")
        for i, label in enumerate(labels)
    }
    return coloured | {label: (SHADES[i % len(SHADES)], "--") for i, label in enumerate(shared)}


def draw_curves(
    environments: Mapping[str, Curves],
    out: Path,
    groups: Groups | None = None,
    reference: str | None = None,
    dashed: Collection[str] = (),
) -> list[Path]:
    """Draw ``curves-<environment>.png`` for each environment.

    :param environments: Environment → label → curves over timesteps
    :param out: Folder for the pictures
    :param groups: See :func:`subplots`
    :param reference: See :func:`subplots`
    :param dashed: See :func:`subplots`
    :return: The files written
    """
    labels = list(dict.fromkeys(label for curves in environments.values() for label in curves))
    divided = subplots(labels, groups, reference, dashed)
    return [
        save(curve_figure(environment, curves, "timesteps", divided), out / f"curves-{name}.png")
        for name, (environment, curves) in zip(safe_names(environments), environments.items(), strict=True)
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


def style_axes(axes: Axes, grid: Literal["both", "x"] = "both") -> None:
    """A faint grid, and no frame at the top and on the right.

    :param axes: The axes
    :param grid: For which axis there are grid lines
    """
    axes.grid(alpha=0.3, axis=grid, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def curve_figure(environment: str, curves: Curves, over: str, divided: Sequence[Subplot]) -> Figure:
    """Learning curves in one environment: the mean over runs of each label, with its band.

    :param environment: Gymnasium id
    :param curves: Label → curves
    :param over: ``"timesteps"`` or ``"seconds"``
    :param divided: The subplots
    """
    alone = len(divided) == 1 and not divided[0].title
    width = 9.0 if alone else 4.8 * len(divided)
    figure = Figure(figsize=(width, 5.0), dpi=150 if alone else 110, layout="constrained")
    grid = figure.subplots(1, len(divided), sharey=True, sharex=True, squeeze=False)[0]
    for axes, subplot in zip(grid, divided, strict=True):
        for label, (colour, style) in subplot.styles.items():
            _draw_mean(axes, curves.get(label, ()), label, colour, style)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
        style_axes(axes)
        axes.set_title(subplot.title, loc="left", fontsize=11)
        axes.set_xlabel(AXES[over])
        if not alone and axes.lines:  # imported runs may have no curves
            axes.legend(frameon=False, fontsize=9, loc="best")
    grid[0].set_ylabel("return, mean of the last 100 episodes")
    if alone and grid[0].lines:
        figure.legend(loc="outside right upper", frameon=False)
    counts = {len(runs) for s in divided for label in s.styles if (runs := curves.get(label))} or {0}
    n = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    band = ", 95 % t band" if max(counts) > 1 else ""
    narrow = len(divided) == 1 and not alone
    heading = f"{environment}:{chr(10) if narrow else ' '}mean over runs{band}, n = {n}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12)
    return figure


def _draw_mean(axes: Axes, runs: Sequence[Curve], label: str, colour: str, style: str) -> None:
    if not runs:
        return
    grid, returns = common_grid(runs)
    if len(grid) > MOST_POINTS:
        chosen = np.linspace(0, len(grid) - 1, MOST_POINTS).round().astype(int)
        grid, returns = grid[chosen], returns[:, chosen]
    mean, low, high = curve_band(returns)
    marker = "o" if len(grid) == 1 else ""
    axes.plot(grid, mean, color=colour, linestyle=style, linewidth=1.6, marker=marker, label=short(label))
    if len(runs) > 1:
        axes.fill_between(grid, low, high, color=colour, alpha=0.15, linewidth=0)


def short(label: str) -> str:
    """The label, or its end if it is long: a legend must leave room for the curves.

    :param label: Any label
    """
    return label if len(label) <= LABEL_LENGTH else f"…{label[1 - LABEL_LENGTH :]}"
