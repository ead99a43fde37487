"""Learning curves as PNG, with matplotlib's object interface: no global state, no display."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sb3_ppo_variants.experiments.files import atomic, safe_name
from sb3_ppo_variants.experiments.registry import PEERS, REFERENCE
from sb3_ppo_variants.experiments.report import Row, select
from sb3_ppo_variants.experiments.statistics import common_grid, curve_band

# Okabe and Ito's palette, told apart with every common colour blindness; yellow is left out, pale on white, and black
# is for the reference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LABEL_LENGTH = 20


def draw_curves(rows: Sequence[Row], out: Path) -> list[Path]:
    """Draw ``curves-<environment>.png`` for each environment in which a run has finished.

    :param rows: The comparison
    :param out: Folder for the pictures
    :return: The files written
    """
    environments = dict.fromkeys(r.run.environment for r in rows if r.result is not None)
    return [_draw(rows, environment, out) for environment in environments]


def _draw(rows: Sequence[Row], environment: str, out: Path) -> Path:
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    algorithms = list(dict.fromkeys(r.run.row for r in rows))
    counts = set()
    for i, algorithm in enumerate(algorithms):
        n = _draw_algorithm(axes, rows, algorithm, environment, i)
        counts |= {n} if n else set()
    runs = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} to {max(counts, default=0)}"
    band = ", 95 % bootstrap band" if max(counts, default=0) > 1 else ""
    axes.set_title(f"{environment}: mean over runs{band}, n = {runs}", loc="left")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return, mean of the last 100 episodes")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    path = out / f"curves-{safe_name(environment)}.png"
    with atomic(path) as temporary:
        canvas.print_png(str(temporary))
    return path


def _draw_algorithm(axes: Axes, rows: Sequence[Row], algorithm: str, environment: str, index: int) -> int:
    curves = []
    for row in select(rows, algorithm, environment):
        points = [] if row.result is None else [p for p in row.result.curve if p.mean_return is not None]
        if points:
            curves.append(([p.timesteps for p in points], [p.mean_return or 0.0 for p in points]))
    if not curves:
        return 0
    grid, returns = common_grid(curves)
    mean, low, high = curve_band(returns)
    colour = "#000000" if algorithm == REFERENCE else COLOURS[index % len(COLOURS)]
    style = "--" if algorithm in PEERS else "-" if index < len(COLOURS) else ":"  # a peer must not hide ours
    marker = "o" if len(grid) == 1 else ""
    axes.plot(grid, mean, color=colour, linestyle=style, linewidth=1.8, marker=marker, label=_short(algorithm))
    if len(curves) > 1:
        axes.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
    return len(curves)


def _short(algorithm: str) -> str:
    """A legend must leave room for the curves."""
    return algorithm if len(algorithm) <= LABEL_LENGTH else f"…{algorithm[1 - LABEL_LENGTH :]}"
