"""The picture of a sensitivity study: return over each parameter, with the documented range or default behind it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sb3_ppo_variants.experiments.reporting.curves import COLOURS, save, style_axes
from sb3_ppo_variants.experiments.search_space.axis import SHADE, documented_parameter, set_axis
from sb3_ppo_variants.experiments.search_space.dimensions import Choice, Complement, Dimension, Integer, Real
from sb3_ppo_variants.experiments.sensitivity_analysis.points import Point
from sb3_ppo_variants.experiments.stats.estimators import FEW, center_name

BLUE, RED, BLACK = COLOURS[0], COLOURS[1], "#222222"
COLUMNS = 3
LETTERS = 42  # of the title, over one panel


def dimension_of(argument: str, values: Sequence[Any]) -> Dimension:
    """The axis for the values of a parameter.

    ``gae_lambda`` and ``gamma`` are drawn on the logarithm of 1 − x, whole numbers as they are, other positive numbers
    on their logarithm. Values that include 0 are drawn at equal distances.

    :param argument: Constructor's argument
    :param values: Its values, at least two, in increasing order
    """
    low, high = values[0], values[-1]
    if argument in ("gae_lambda", "gamma") and low >= 0 and high < 1:
        return Complement(low, high)
    if all(isinstance(v, int) for v in values):
        return Integer(low, high)
    return Real(low, high, log=True) if low > 0 else Choice(tuple(values))


def draw_sensitivity(points: Sequence[Point], title: str, path: Path) -> Path:
    """Draw one panel per parameter, all on one scale of returns.

    :param points: Of one environment
    :param title: Above the panels
    :param path: The PNG file
    :return: The file
    """
    arguments = list(dict.fromkeys(p.argument for p in points))
    columns = min(COLUMNS, len(arguments))
    lines = -(-len(arguments) // columns)
    counts = sorted({len(p.returns) for p in points})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    few = " (few)" if counts[0] < FEW else ""
    above, below = textwrap.wrap(f"{title}; n = {n} per point{few}", LETTERS * columns), legend(points)
    texts = len(above) - (-len(below) // columns)  # lines of text above and below the panels
    figure = Figure(figsize=(3.7 * columns, 2.9 * lines + 0.2 + 0.22 * texts), dpi=150, layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, argument in zip(panels, arguments, strict=False):
        _draw_panel(axes, argument, [p for p in points if p.argument == argument])
    for axes in panels[len(arguments) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel("final return")
    figure.suptitle("\n".join(above))
    figure.legend(handles=below, loc="outside lower center", ncols=columns, frameon=False)
    return save(figure, path)


def _draw_panel(axes: Axes, argument: str, points: Sequence[Point]) -> None:
    dimension = dimension_of(argument, [p.value for p in points])
    set_axis(axes, argument, dimension)
    style_axes(axes)
    drawn = [(dimension.place(p.value), p.center, p.default) for p in points if p.center is not None]
    x, y = [place for place, _, _ in drawn], [center for _, center, _ in drawn]
    axes.plot(x, y, "-", color=BLUE, linewidth=1.8, zorder=3)
    for p in points:
        if p.center is not None and not p.default:
            axes.plot(
                [dimension.place(p.value)], [p.center], **_marker(p.difference is not None and p.difference.shown)
            )
    spread = [(dimension.place(p.value), p.interval) for p in points if p.interval is not None]
    if spread:
        low, high = [i.low for _, i in spread], [i.high for _, i in spread]
        axes.fill_between([place for place, _ in spread], low, high, color=BLUE, alpha=0.18, linewidth=0)
        axes.vlines([place for place, _ in spread], low, high, color=BLUE, linewidth=1.2, zorder=2)
    for place, center, default in drawn:
        if default:
            axes.plot([place], [center], "*", color=BLACK, markersize=12, zorder=4)
    for p in points:
        if p.failed:
            edge = axes.get_xaxis_transform()
            axes.plot([dimension.place(p.value)], [0.03], "x", color=RED, transform=edge, markeredgewidth=1.8)


def _marker(shown: bool) -> dict[str, Any]:
    """Full where the difference from the default is shown, else empty."""
    return {"marker": "o", "color": BLUE, "markersize": 4.5, "markerfacecolor": BLUE if shown else "white", "zorder": 4}


def legend(points: Sequence[Point]) -> list[Any]:
    """What the panels draw, as handles of a legend.

    :param points: The points of all panels
    """
    centers = sorted({center_name(len(p.returns)) for p in points if p.returns})
    intervals = ", 95 % intervals" if any(p.interval is not None for p in points) else ""
    documented = [found for p in points if (found := documented_parameter(p.argument))]
    handles: list[Any] = [
        Line2D([], [], color=BLUE, label=f"{' or '.join(centers)} over runs{intervals}"),
        Line2D([], [], linestyle="", label="shown to differ, corrected by panel", **_marker(True)),
        Line2D([], [], linestyle="", label="no difference shown", **_marker(False)),
        Line2D([], [], color=BLACK, marker="*", markersize=11, linestyle="", label="all defaults: the same runs"),
    ]
    if any(parameter.low is not None for parameter in documented):
        handles.append(Patch(color=SHADE, alpha=0.16, label="documented range"))
    if documented:
        handles.append(Line2D([], [], color=SHADE, linestyle="--", label="documented default"))
    if any(p.failed for p in points):
        handles.append(Line2D([], [], color=RED, marker="x", linestyle="", label="some runs failed"))
    return handles
