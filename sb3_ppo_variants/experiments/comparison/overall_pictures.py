"""Pictures of a comparison over all its environments."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, Subplot, short, style_axes
from sb3_ppo_variants.experiments.stats.aggregates import aggregate, performance_profile

POINTS = 101  # of a performance profile
LOWEST, HIGHEST = -1.0, 1.5  # of its scores


def interval_figure(results: Results) -> Figure:
    """Mean score and interquartile mean of each variant with their intervals, and the published scores.

    :param results: The comparison; it has a scale
    """
    names, published = results.scored, results.published
    figure = Figure(figsize=(6.4, 1.2 + 0.36 * len(names)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        found = aggregate(results.samples(name))
        for estimate, colour, shift in ((found.mean, COLOURS[0], -0.12), (found.iqm, COLOURS[1], 0.12)):
            axes.plot(estimate.value, i + shift, "o", color=colour, markersize=5)
            if estimate.interval is not None:
                axes.plot(estimate.interval, [i + shift] * 2, color=colour, linewidth=2)
        if name in published:
            axes.plot(published[name], i, "D", color="#000000", markersize=6, fillstyle="none")
    axes.plot([], [], "o-", color=COLOURS[0], label="mean, 95 %")
    axes.plot([], [], "o-", color=COLOURS[1], label="IQM, 95 %")
    if published:
        label = f"published, after {results.published_timesteps:,} steps"
        axes.plot([], [], "D", color="#000000", fillstyle="none", label=label)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"score after {_budget(results)}\n({results.scales[0].title})")
    style_axes(axes, grid="x")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _budget(results: Results) -> str:
    run = results.records[0].run  # all runs of a comparison have the same
    return f"{run.timesteps:,} steps" if run.wall_time is None else f"{run.wall_time:g} s of training"


def profile_figure(results: Results, divided: Sequence[Subplot]) -> Figure:
    """Performance profiles: the share of a variant's runs that score above τ.

    :param results: The comparison; it has a scale
    :param divided: The variants of each subplot
    """
    figure = Figure(figsize=(6.0 if len(divided) == 1 else 4.6 * len(divided), 4.2), dpi=110, layout="constrained")
    samples = {name: results.samples(name) for name in results.scored}
    scores = np.concatenate([sample for own in samples.values() for sample in own])
    # A single collapsed run would squeeze the interesting part into a corner.
    low, high = scores.min(), scores.max()
    if low < HIGHEST and high > LOWEST:
        low, high = max(low, LOWEST), min(high, HIGHEST)
    thresholds = np.linspace(low, high, POINTS)
    beyond = [f"{one:.2f}".replace("-", "−") for one in (scores.min(), scores.max()) if not low <= one <= high]
    grid = figure.subplots(1, len(divided), sharey=True, sharex=True, squeeze=False)[0]
    for axes, subplot in zip(grid, divided, strict=True):
        for name, (colour, style) in subplot.styles.items():
            if name not in samples:
                continue
            share, *band = performance_profile(samples[name], thresholds)
            axes.step(thresholds, share, color=colour, linestyle=style, linewidth=1.6, label=short(name))
            axes.fill_between(thresholds, *band, step="pre", color=colour, alpha=0.12, linewidth=0)
        axes.set_title(subplot.title, loc="left", fontsize=11)
        axes.set_xlabel("score τ" + (f" (cut off; scores reach {' and '.join(beyond)})" if beyond else ""))
        style_axes(axes)
        axes.legend(frameon=False, fontsize=8.5, loc="best")
    grid[0].set_ylabel("share of runs with a score above τ")
    return figure
