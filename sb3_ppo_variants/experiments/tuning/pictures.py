"""The pictures of a tuning study: how the search went, what mattered, and where the good values lie."""

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sb3_ppo_variants.experiments.engine.storage import quiet
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, style_axes
from sb3_ppo_variants.experiments.search_space.axis import parameter_label, place, set_axis
from sb3_ppo_variants.experiments.tuning.differences import Difference
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, done

BLUE, RED = COLOURS[0], COLOURS[1]
BLACK, GREY = "#222222", "#8C8C8C"
LEAST_TRIALS = 20  # PED-ANOVA compares the best tenth with the rest, and one trial is no distribution
TOP = 0.1


def small_figure(height: float = 3.4) -> tuple[Figure, Axes]:
    """A picture that is readable at a width of 340 pixels, as on a phone.

    :param height: Inches
    :return: The figure and its only axes
    """
    figure = Figure(figsize=(5.6, height), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def draw_history(plan: StudyPlan, trials: Sequence[TrialRecord]) -> Figure:
    """Scores of the trials in their order, the best so far, and the defaults' score as a line.

    :param plan: The study
    :param trials: Its trials, at least one of them done
    """
    figure, axes = small_figure(3.8)
    finished = sorted(done(trials), key=lambda t: t.number)
    numbers = [t.number for t in finished]
    scores = np.array([t.score for t in finished], dtype=float)
    axes.plot(numbers, scores, "o", color=BLUE, markersize=4.5, alpha=0.75, label="trial")
    last = max(t.number for t in trials)
    best = np.maximum.accumulate(scores)
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=BLUE, linewidth=1.8, label="best so far")
    if numbers[0] == 0:
        axes.axhline(scores[0], color=BLACK, linestyle="--", linewidth=1.4, label="documented defaults")
    _mark_unfinished(axes, trials)
    axes.set_xlabel("trial")
    axes.set_ylabel(plan.metric.score_axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mark_unfinished(axes: Axes, trials: Sequence[TrialRecord]) -> None:
    """Mark the trials without a score at the lower edge."""
    for state, marker, colour in (("pruned", "|", GREY), ("failed", "x", RED)):
        numbers = [t.number for t in trials if t.state == state]
        if numbers:
            axes.plot(
                numbers, [0.02] * len(numbers), marker, color=colour, transform=axes.get_xaxis_transform(),
                markersize=7, markeredgewidth=1.6, label=f"{state} ({len(numbers)})",
            )  # fmt: skip


def importances(plan: StudyPlan, trials: Sequence[TrialRecord]) -> dict[str, float] | None:
    """Share of each dimension in what sets the best tenth of the trials apart, by Optuna's PED-ANOVA.

    Watanabe et al. (2023), "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
    arXiv:2304.10255.

    :param plan: The study
    :param trials: Its trials
    :return: Argument → share, from high to low; ``None`` with fewer than :data:`LEAST_TRIALS` finished trials or where
        all scores are equal
    """
    finished = [t for t in done(trials) if set(plan.space) <= set(t.values)]
    if len(finished) < LEAST_TRIALS or len({t.score for t in finished}) < 2:
        return None
    names = {argument: dimension.parameter_name(argument) for argument, dimension in plan.space.items()}
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        for trial in finished:
            parameters = {names[a]: d.parameter(trial.values[a]) for a, d in plan.space.items()}
            distributions = {names[a]: d.distribution for a, d in plan.space.items()}
            study.add_trial(optuna.create_trial(params=parameters, distributions=distributions, value=trial.score))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    shares = {argument: float(found.get(name, 0.0)) for argument, name in names.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def draw_importances(shares: Mapping[str, float]) -> Figure:
    """Bars.

    :param shares: See :func:`importances`
    """
    figure, axes = small_figure(0.9 + 0.32 * len(shares))
    arguments = list(shares)[::-1]
    bars = axes.barh([parameter_label(a) for a in arguments], [shares[a] for a in arguments], color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel("share of what sets the best tenth of the trials apart")
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    return figure


def draw_slice(plan: StudyPlan, trials: Sequence[TrialRecord], argument: str) -> Figure:
    """Scores of the trials over one dimension, with the documented range shaded or the documented default as a line.

    :param plan: The study
    :param trials: Its trials
    :param argument: The dimension
    """
    figure, axes = small_figure()
    dimension = plan.space[argument]
    set_axis(axes, argument, dimension)
    drawn = [
        (x, t.score or 0.0, t.number)
        for t in done(trials)
        if (x := place(dimension, t.values.get(argument))) is not None
    ]
    if drawn:
        points = np.array(drawn).T
        # Late trials gather where the sampler expects most; the colour shows which are late.
        axes.scatter(
            points[0], points[1], c=points[2], cmap="viridis_r", s=26, edgecolors="white", linewidths=0.4, zorder=3
        )
    for x0, y0, number0 in drawn:
        if number0 == 0:
            axes.plot([x0], [y0], "*", color=BLACK, markersize=13, zorder=4, label="trial 0")
    axes.set_ylabel(plan.metric.score_axis)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_differences(differences: Sequence[Difference]) -> Figure:
    """The candidates' differences to the defaults with their corrected intervals.

    :param differences: One per candidate, all by one metric
    """
    figure, axes = small_figure(1.0 + 0.34 * len(differences))
    for row, d in enumerate(reversed(differences)):
        low, high = d.interval or (d.difference, d.difference)
        colour = BLUE if d.better else GREY
        axes.plot([low, high], [row, row], color=colour, linewidth=2.4)
        axes.plot([d.difference], [row], "o", color=colour, markersize=7)
    axes.axvline(0, color=BLACK, linestyle="--", linewidth=1.4)
    axes.set_yticks(range(len(differences)), [d.candidate for d in reversed(differences)])
    axes.set_ylim(-0.6, len(differences) - 0.4)
    axes.set_xlabel(f"difference to the defaults in {differences[0].metric.axis}")
    axes.grid(visible=False, axis="y")
    return figure
