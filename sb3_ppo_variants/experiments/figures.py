"""The figures of the documentation, drawn with the functions that they explain.

Pure functions (``objective_over_ratio``, ``ratio_band_edges``, ``kl_allowed_means``, ``importance_weights_summary``, …)
compute what is plotted, and the tests compare them with closed forms. The rest is drawing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.optimize import brentq
from scipy.stats import norm

from sb3_ppo_variants.defaults import CLIP_RANGE
from sb3_ppo_variants.distributions import Gaussian
from sb3_ppo_variants.experiments.reporting.curves import COLOURS, save
from sb3_ppo_variants.objectives import (
    ClippedSurrogate,
    DiscoveredSurrogate,
    RollbackSurrogate,
    ScopicSurrogate,
    SoftClippedSurrogate,
    SPOSurrogate,
    Surrogate,
    UnclippedSurrogate,
)

BLUE, RED, GREEN = COLOURS[:3]
GREY, BLACK, YELLOW, PLAIN_RED = "#8C8C8C", "#222222", "#F6EE8B", "#CC0000"
OLD_POLICY = r"$\pi_\mathrm{old}$"

#: δ of the trust-region figure, in nats. With TRPO's usual 0.01 the two densities would look like one.
TRUST_REGION = 0.05

#: δ of the soft clip in the figure of all surrogates; the other settings there are the classes' defaults.
SOFTNESS = 0.2

#: Importance-sampling figure: samples per estimate, estimates per distance, largest distance, seed.
N_SAMPLES, N_ESTIMATES, FARTHEST, SEED = 1000, 25, 3.0, 0


def draw_figures(out: Path) -> list[Path]:
    """Draw all figures.

    :param out: Folder for the pictures, created if it does not exist
    :return: The files written
    """
    figures = {
        "clipping_objective.png": _clipping_objective(),
        "trust_region.png": _trust_region(),
        "importance_sampling.png": _importance_sampling(),
        "surrogates.png": _surrogates(),
    }
    for figure in figures.values():
        _legend(figure)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
    return [save(figure, out / name) for name, figure in figures.items()]


# ---- Computation ----


class Objectives(NamedTuple):
    """Surrogates of one sample, arrays over its ratio.

    :param unclipped: r·A
    :param bound: clip(r, 1−ε, 1+ε)·A
    :param clipped: The smaller of the two, PPO's objective
    :param flat: Where the slope of PPO's objective is zero
    """

    unclipped: np.ndarray
    bound: np.ndarray
    clipped: np.ndarray
    flat: np.ndarray


def objective_over_ratio(ratio: np.ndarray, advantage: float, clip_range: float) -> Objectives:
    """The surrogates of one sample as functions of its ratio.

    :param ratio: r > 0, any shape
    :param advantage: A of the sample
    :param clip_range: ε
    :return: Arrays of the same shape
    """
    log_ratio, advantages = np.log(ratio), np.full_like(ratio, advantage)
    clipped = ClippedSurrogate(clip_range)
    return Objectives(
        UnclippedSurrogate().value(log_ratio, advantages),
        np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage,
        clipped.value(log_ratio, advantages),
        clipped.slope(log_ratio, advantages) == 0,
    )


def all_surrogates() -> dict[str, Surrogate]:
    """The surrogates that restrain the ratio, and the one that does not, under their labels.

    The dual clip is not among them: it differs from the clip only where A < 0 and r > c, for its paper's c = 3 far
    outside the figure.
    """
    clip = ClippedSurrogate(CLIP_RANGE.default)
    return {
        "r·A (UnclippedPPO)": UnclippedSurrogate(),
        "clip (ClipPPO)": clip,
        f"soft clip, δ = {SOFTNESS}": SoftClippedSurrogate(clip, SOFTNESS),
        "rollback, α = 0.3": RollbackSurrogate(CLIP_RANGE.default, 0.3),
        "SPO": SPOSurrogate(CLIP_RANGE.default),
        "discovered, α = 2, β = 0.6": DiscoveredSurrogate(2.0, 0.6),
        "scopic, τ = 4": ScopicSurrogate(4.0),
    }


def values_and_slopes(ratio: np.ndarray, advantage: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and slope of every surrogate for one sample, over its ratio.

    :param ratio: r > 0, any shape
    :param advantage: A of the sample
    :return: Label → value, and slope ∂ value / ∂ log r, of the same shape
    """
    arguments = np.log(ratio), np.full_like(ratio, advantage)
    return {label: (s.value(*arguments), s.slope(*arguments)) for label, s in all_surrogates().items()}


def gaussian_kl(old_mean: float, old_std: float, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """KL(old‖new) of one-dimensional Gaussians, from the package's closed form.

    :param old_mean: μ_old
    :param old_std: σ_old
    :param mean: μ, any shape
    :param std: σ, same shape
    :return: In nats, same shape
    """
    new = mean.reshape(-1, 1), np.log(std).reshape(-1, 1)
    old = np.full_like(new[0], old_mean), np.full_like(new[1], np.log(old_std))
    return Gaussian().kl(old, new).reshape(mean.shape)


def kl_allowed_means(old_mean: float, std: float, delta: float) -> tuple[float, float]:
    """The interval of new means with KL(old‖new) ≤ δ at an unchanged standard deviation.

    Its ends are roots of the package's KL. In closed form they are μ_old ± σ·√(2δ), since KL = (μ − μ_old)²/2σ².

    :param old_mean: μ_old
    :param std: σ of both
    :param delta: δ > 0 in nats
    :return: The lowest and the highest mean
    """

    def excess(mean: float) -> float:
        return float(gaussian_kl(old_mean, std, np.array([mean]), np.array([std]))[0]) - delta

    reach = 2 * std * np.sqrt(2 * delta)  # too far away by the closed form
    return float(brentq(excess, old_mean - reach, old_mean)), float(brentq(excess, old_mean, old_mean + reach))


def ratio_band_edges(old_mean: float, mean: float, std: float, clip_range: float) -> tuple[float, float]:
    """The interval of actions with a ratio π(a)/π_old(a) in [1−ε, 1+ε], for Gaussians of equal standard deviation.

    log r(a) = (μ − μ_old)·(a − (μ + μ_old)/2)/σ² is linear in a and is solved for log(1 ± ε).

    :param old_mean: μ_old
    :param mean: μ ≠ μ_old
    :param std: σ of both
    :param clip_range: ε in (0, 1)
    :return: The lowest and the highest action
    """
    middle = (mean + old_mean) / 2
    edges = [middle + std**2 * np.log(bound) / (mean - old_mean) for bound in (1 - clip_range, 1 + clip_range)]
    return float(min(edges)), float(max(edges))


class ImportanceSampling(NamedTuple):
    """Estimates and their effective sample sizes.

    :param estimate: Σ w·a / N, an estimate of the new policy's mean action, shape (distances, estimates)
    :param ess: (Σw)² / (N·Σw²), effective sample size as a share of N, shape (distances, estimates)
    """

    estimate: np.ndarray
    ess: np.ndarray


def importance_weights_summary(
    distances: Sequence[float] | np.ndarray, n_samples: int, n_estimates: int, seed: int
) -> ImportanceSampling:
    """Estimate the mean action of N(d, 1) from actions of N(0, 1), weighted with w = N(a; d, 1)/N(a; 0, 1).

    The estimate is the unclipped surrogate with the action in place of the advantage.

    :param distances: d, in standard deviations
    :param n_samples: N, number of actions per estimate
    :param n_estimates: Number of estimates per distance, each from new actions
    :param seed: Seed of the random generator
    :return: All estimates and their effective sample sizes
    """
    distance = np.asarray(distances, dtype=float)[:, None, None]
    actions = np.random.default_rng(seed).normal(size=(distance.size, n_estimates, n_samples))
    log_ratio = distance * actions - distance**2 / 2
    weights = np.exp(log_ratio)
    return ImportanceSampling(
        UnclippedSurrogate().value(log_ratio, actions).mean(-1),
        weights.sum(-1) ** 2 / (n_samples * (weights**2).sum(-1)),
    )


def exact_standard_error(distances: np.ndarray, n_samples: int) -> np.ndarray:
    """The true standard deviation of ``ImportanceSampling.estimate``: √((e^(d²)·(1 + 4d²) − d²)/N).

    E_old[w²·a²] is e^(d²)·E[a²] with a from N(2d, 1), because w²·N(a; 0, 1) = e^(d²)·N(a; 2d, 1).

    :param distances: d, in standard deviations
    :param n_samples: N
    :return: Same shape
    """
    return np.sqrt((np.exp(distances**2) * (1 + 4 * distances**2) - distances**2) / n_samples)


def exact_ess(distances: np.ndarray) -> np.ndarray:
    """The limit of the effective sample size for large N: E_old[w]²/E_old[w²] = e^(−d²).

    :param distances: d, in standard deviations
    :return: Share of N, same shape
    """
    return np.exp(-(distances**2))


# ---- The clipped objective ----


def _clipping_objective() -> Figure:
    figure, left, right = _figure(
        "PPO's clipped objective for one sample: the smaller of two lines, flat on one side only"
    )
    _draw_objective(left, advantage=1.0)
    _draw_objective(right, advantage=-1.0)
    return figure


def _draw_objective(axes: Axes, advantage: float) -> None:
    epsilon = CLIP_RANGE.default
    ratio = np.linspace(0.005, 2.0, 1000)
    values = objective_over_ratio(ratio, advantage, epsilon)
    axes.axvspan(1 - epsilon, 1 + epsilon, color=GREY, alpha=0.3, linewidth=0, label="band [1−ε, 1+ε]")
    axes.plot(
        ratio, values.clipped, color=YELLOW, linewidth=12, solid_capstyle="butt", label="objective: the smaller one"
    )
    axes.plot(ratio, values.unclipped, color=BLUE, linestyle="--", linewidth=1.4)
    axes.plot(ratio, values.bound, color=PLAIN_RED, linestyle="--", linewidth=1.4)
    axes.plot(ratio, np.where(values.flat, np.nan, values.clipped), color=BLUE, linewidth=2.8, label="r·A (unclipped)")
    flat = np.where(values.flat, values.clipped, np.nan)
    axes.plot(ratio, flat, color=PLAIN_RED, linewidth=2.8, label="clip(r, 1−ε, 1+ε)·A")
    axes.plot([1], [advantage], "o", color=BLACK, markersize=7, label="r = 1: the old policy")
    axes.plot([], [], color=BLACK, linestyle="--", linewidth=1.4, label="dashed: the larger one")
    axes.set_xticks([0, 0.5, 1 - epsilon, 1, 1 + epsilon, 1.5, 2], ["0", "0.5", "1−ε", "1", "1+ε", "1.5", "2"])
    axes.set(xlim=(0, 2), xlabel=f"probability ratio r = π(a|s) / {OLD_POLICY}(a|s)")
    axes.set(ylim=sorted([0, 2 * advantage]), yticks=advantage * np.linspace(0, 2, 5))
    axes.set_ylabel(f"objective at A = {advantage:.0f}".replace("-", "−"))
    if advantage > 0:
        axes.set_title("A > 0: the action was better than expected")
        _note(axes, "flat: nothing to gain\nby raising r further", (1.6, 1.17), (1.6, 0.72), PLAIN_RED)
        _note(axes, "wrong way: full slope,\nr is pulled back up", (0.36, 0.39), (0.41, 1.35), BLUE)
    else:
        axes.set_title("A < 0: the action was worse than expected")
        _note(axes, "flat: nothing to gain\nby lowering r further", (0.4, -0.83), (0.4, -1.28), PLAIN_RED)
        _note(axes, "wrong way: full slope,\nr is pulled back down", (1.58, -1.55), (1.57, -0.5), BLUE)


# ---- All surrogates ----


def _surrogates() -> Figure:
    figure = Figure(figsize=(9, 7.5), dpi=150, layout="constrained")
    figure.suptitle("What each surrogate makes of one sample's ratio: its value, and the slope that the update follows")
    grid = figure.subplots(2, 2, sharex=True)
    _draw_surrogates(grid[0, 0], grid[1, 0], advantage=1.0)
    _draw_surrogates(grid[0, 1], grid[1, 1], advantage=-1.0)
    return figure


def _draw_surrogates(upper: Axes, lower: Axes, advantage: float) -> None:
    epsilon = CLIP_RANGE.default
    ratio = np.linspace(0.4, 1.6, 1201)
    colours = (GREY, BLACK, *COLOURS)
    for (label, (value, slope)), colour in zip(values_and_slopes(ratio, advantage).items(), colours, strict=False):
        style, width = "--" if colour == GREY else "-", 2.8 if colour == BLACK else 1.8
        upper.plot(ratio, value, label=label, color=colour, linestyle=style, linewidth=width)
        lower.plot(ratio, slope, color=colour, linestyle=style, linewidth=width)
    for axes in (upper, lower):
        axes.axvspan(1 - epsilon, 1 + epsilon, color=GREY, alpha=0.2, linewidth=0, label="band [1−ε, 1+ε]")
    upper.plot([1], [advantage], "o", color=BLACK, markersize=7, label="r = 1: the old policy")
    lower.plot([1], [advantage], "o", color=BLACK, markersize=7)
    lower.axhline(0, color=BLACK, linewidth=0.8)
    better = advantage > 0
    upper.set_title(f"A {'>' if better else '<'} 0: the action was {'better' if better else 'worse'} than expected")
    upper.set(ylabel=f"value at A = {advantage:.0f}".replace("-", "−"), ylim=(-0.1, 1.65) if better else (-2.1, -0.35))
    lower.set(ylabel="slope ∂value/∂log r", ylim=(-1.3, 1.95) if better else (-1.95, 1.3), xlim=(0.4, 1.6))
    lower.set_xlabel(f"probability ratio r = π(a|s) / {OLD_POLICY}(a|s)")
    lower.set_xticks([0.4, 0.6, 1 - epsilon, 1, 1 + epsilon, 1.4, 1.6], ["0.4", "0.6", "1−ε", "1", "1+ε", "1.4", "1.6"])
    favoured, back = ("up", "down") if better else ("down", "up")
    place, side = (0.54, "left") if better else (1.58, "right")  # where no line is near zero
    lower.annotate(f"r is pushed {favoured}", (place, 0.1 * advantage), ha=side, va="center", color=BLACK)
    lower.annotate(f"r is pulled back {back}", (place, -0.1 * advantage), ha=side, va="center", color=BLACK)


# ---- The trust region ----


def _trust_region() -> Figure:
    old_mean, std = 0.0, 1.0
    # The new policy is as far as the constraint allows, where a line search would leave it.
    lowest, highest = kl_allowed_means(old_mean, std, TRUST_REGION)
    figure, left, right = _figure("Two ways to keep an update small, at one state: action by action, or as a whole")
    _draw_densities(left, old_mean, (lowest, highest), std)
    _draw_kl_region(right, old_mean, highest, std)
    return figure


def _draw_densities(axes: Axes, old_mean: float, allowed: tuple[float, float], std: float) -> None:
    epsilon, mean = CLIP_RANGE.default, allowed[1]
    low, high = ratio_band_edges(old_mean, mean, std, epsilon)
    actions = np.linspace(-3.2, 3.2, 500)
    axes.axvspan(low, high, color=GREY, alpha=0.3, linewidth=0, label="actions with r within [1−ε, 1+ε]")
    axes.plot(actions, norm.pdf(actions, old_mean, std), color=BLUE, linewidth=2.4, label="old policy")
    axes.plot(actions, norm.pdf(actions, mean, std), color=GREEN, linewidth=2.4, label="new policy")
    height = 1.1 * norm.pdf(old_mean, old_mean, std)
    axes.plot(allowed, [height, height], color=GREEN, alpha=0.25, linewidth=10, solid_capstyle="butt")
    wanted = 2 * mean
    axes.plot([wanted], [height], "o", color="white", markeredgecolor=BLACK, markersize=9)
    _dashed_arrow(axes, (old_mean, height), (wanted, height))
    axes.annotate("means with\nKL ≤ δ", (old_mean, 1.06 * height), ha="center", va="bottom", color=BLACK)
    axes.annotate("r < 1−ε: flat\nwhere A < 0", (-3.0, 0.33), ha="left", va="bottom", color=BLACK)
    axes.annotate("r > 1+ε: flat\nwhere A > 0", (3.1, 0.33), ha="right", va="bottom", color=BLACK)
    axes.set(title=f"Clipping: each action's ratio r (ε = {epsilon})", xlim=(-3.2, 3.2), ylim=(0, 1.35 * height))
    axes.set(xlabel="action a, in standard deviations of the old policy", ylabel="density π(a|s)")


def _draw_kl_region(axes: Axes, old_mean: float, mean: float, std: float) -> None:
    means, stds = np.meshgrid(np.linspace(-0.85, 0.85, 401), np.linspace(0.6, 1.75, 401))
    kl = gaussian_kl(old_mean, std, means, stds)
    axes.contourf(means, stds, kl, levels=[0, TRUST_REGION], colors=[GREEN], alpha=0.25)
    names = {TRUST_REGION: "δ", 2 * TRUST_REGION: "2δ", 4 * TRUST_REGION: "4δ"}
    lines = axes.contour(means, stds, kl, levels=list(names), colors=[GREY])
    axes.clabel(lines, fmt=names, manual=[(old_mean, 1.27), (old_mean, 1.42), (old_mean, 1.69)])
    wanted = 2 * mean
    axes.fill_between([], [], color=GREEN, alpha=0.25, linewidth=0, label="policies with KL(old‖new) ≤ δ")
    axes.plot([old_mean], [std], "o", color=BLUE, markersize=10)
    axes.plot([mean], [std], "o", color=GREEN, markersize=10)
    axes.plot([wanted], [std], "o", color="white", markeredgecolor=BLACK, markersize=9, label="step wanted, cut back")
    axes.plot([], [], color=BLACK, linestyle="--", linewidth=1.6, label="direction of the update")
    _dashed_arrow(axes, (old_mean, std), (wanted, std))
    axes.set_title(f"Trust region: KL(old‖new) ≤ δ = {TRUST_REGION} nats")
    axes.set(xlabel="mean, in standard deviations of the old policy", ylabel="standard deviation, new / old")


# ---- Importance sampling ----


def _importance_sampling() -> Figure:
    figure, left, right = _figure(
        f"Judging a new policy by {N_SAMPLES} actions of the old one, weighted with w = π / {OLD_POLICY}"
    )
    sampled_at = np.linspace(0, FARTHEST, 25)
    summary = importance_weights_summary(sampled_at, N_SAMPLES, N_ESTIMATES, SEED)
    _draw_estimates(left, sampled_at, summary.estimate)
    _draw_ess(right, sampled_at, summary.ess)
    near = float(np.sqrt(2 * TRUST_REGION))
    for axes in (left, right):
        axes.axvspan(0, near, color=GREEN, alpha=0.25, linewidth=0, label=f"KL(old‖new) ≤ {TRUST_REGION} nats")
        axes.set(xlim=(0, FARTHEST), xlabel="distance d between the means, in standard deviations")
        # matplotlib also asks for the distances of negative values beyond the axis.
        kl_axis = axes.secondary_xaxis(
            "top", functions=(lambda d: np.square(d) / 2, lambda kl: np.sqrt(2 * np.maximum(kl, 0)))
        )
        kl_axis.set_xticks([TRUST_REGION, 0.5, 1, 2, 3, 4], [f"{TRUST_REGION}", "0.5", "1", "2", "3", "4"])
        kl_axis.set_xlabel("KL(old‖new) = d²/2, in nats")
    return figure


def _draw_estimates(axes: Axes, sampled_at: np.ndarray, estimates: np.ndarray) -> None:
    distances = np.linspace(0, FARTHEST, 300)
    error = exact_standard_error(distances, N_SAMPLES)
    low, high = distances - error, distances + error
    axes.fill_between(distances, low, high, color=RED, alpha=0.2, linewidth=0, label="± exact standard error")
    axes.plot(distances, distances, color=BLACK, linewidth=1.8, label="true value: d")
    _dots(axes, sampled_at, estimates)
    axes.annotate("most fall short: the rare\nlarge weights were not drawn", (1.3, -0.75), ha="center", color=BLACK)
    axes.set(title="The estimated mean action loses its way", ylabel="Σ w·a / N", ylim=(-1, 5))


def _draw_ess(axes: Axes, sampled_at: np.ndarray, ess: np.ndarray) -> None:
    distances = np.linspace(0, FARTHEST, 300)
    _dots(axes, sampled_at, ess)
    axes.plot(distances, exact_ess(distances), color=RED, linewidth=2, label="exp(−d²): its limit for large N")
    axes.axhline(1 / N_SAMPLES, color=BLACK, linestyle=":", label="one action has all the weight")
    axes.set(yscale="log", ylim=(5e-4, 1.5), ylabel="effective sample size (Σw)² / (N·Σw²)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_title("Ever fewer of the actions count")


def _dots(axes: Axes, sampled_at: np.ndarray, measured: np.ndarray) -> None:
    points = np.repeat(sampled_at, measured.shape[1])
    axes.plot(points, measured.ravel(), ".", color=BLUE, alpha=0.45, markersize=4, label="measured, each dot N actions")


# ---- Drawing ----


def _figure(title: str) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")  # 1350 pixels wide, shown at about 900 in a README
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    return figure, left, right


def _legend(figure: Figure) -> None:
    """One legend below both subplots, with each entry once."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        for label, handle in zip(labels, handles, strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=3, frameon=False)


def _note(axes: Axes, text: str, point: tuple[float, float], place: tuple[float, float], colour: str) -> None:
    arrow = {"arrowstyle": "->", "color": colour}
    axes.annotate(text, point, place, ha="center", va="center", color=colour, arrowprops=arrow)


def _dashed_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    # Dashes short enough for several of them in the shorter arrow.
    dashes = (0, (2.2, 1.3))
    style = {"arrowstyle": "->", "linestyle": dashes, "color": BLACK, "linewidth": 1.6, "mutation_scale": 14}
    axes.annotate("", end, start, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
