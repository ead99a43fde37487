"""Pictures of a comparison over all its environments."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, Panel, short, styles
from sb3_ppo_variants.experiments.stats.aggregates import aggregate, performance_profile
from sb3_ppo_variants.experiments.stats.scales import Scale

POINTS = 101  # of a performance profile


def interval_figure(
    rows: Sequence[Record], names: Sequence[str], scale: Scale, published: Mapping[str, float] | None = None
) -> Figure:
    """Mean score and interquartile mean of each row with their intervals, and what was published.

    :param rows: The comparison
    :param names: The rows, drawn from the top
    :param scale: Of the scores
    :param published: Row → published score
    """
    figure = Figure(figsize=(6.4, 1.2 + 0.36 * len(names)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        found = aggregate(scale.samples(rows, name))
        for estimate, colour, shift in ((found.mean, COLOURS[0], -0.12), (found.iqm, COLOURS[1], 0.12)):
            axes.plot(estimate.value, i + shift, "o", color=colour, markersize=5)
            if estimate.interval is not None:
                axes.plot(estimate.interval, [i + shift] * 2, color=colour, linewidth=2)
        if published and name in published:
            axes.plot(published[name], i, "D", color="#000000", markersize=6, fillstyle="none")
    axes.plot([], [], "o-", color=COLOURS[0], label="mean, 95 %")
    axes.plot([], [], "o-", color=COLOURS[1], label="IQM, 95 %")
    if published:
        axes.plot([], [], "D", color="#000000", fillstyle="none", label="published")
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"score ({scale.name})")
    axes.grid(alpha=0.3, axis="x", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def profile_figure(rows: Sequence[Record], names: Sequence[str], scale: Scale, shared: Sequence[Panel]) -> Figure:
    """Performance profiles: which share of a row's runs scores above τ.

    :param rows: The comparison
    :param names: The rows
    :param scale: Of the scores
    :param shared: What is drawn in which panel
    """
    figure = Figure(figsize=(6.0 if len(shared) == 1 else 4.6 * len(shared), 4.2), dpi=110, layout="constrained")
    lowest = min(min(map(float, sample), default=0.0) for name in names for sample in scale.samples(rows, name))
    highest = max(max(map(float, sample), default=1.0) for name in names for sample in scale.samples(rows, name))
    # A single collapsed run would squeeze all that is of interest into a corner.
    thresholds = np.linspace(max(lowest, -0.5), min(highest, 1.5), POINTS)
    grid = figure.subplots(1, len(shared), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (title, coloured, others) in zip(grid, shared, strict=True):
        for name, (colour, style) in styles(coloured, others, ()).items():
            share, low, high = performance_profile(scale.samples(rows, name), thresholds)
            axes.step(thresholds, share, color=colour, linestyle=style, linewidth=1.6, label=short(name))
            axes.fill_between(thresholds, low, high, step="pre", color=colour, alpha=0.12, linewidth=0)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("score τ")
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8.5, loc="best")
    grid[0].set_ylabel("share of runs with a score above τ")
    return figure
