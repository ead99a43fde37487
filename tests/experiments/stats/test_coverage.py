"""How often intervals cover the truth, by simulation. ``python -m tests.experiments.stats.test_coverage`` prints the
table of ``experiments/README.md``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.stats import intervals
from sb3_ppo_variants.experiments.stats.aggregates import aggregate, iqm_score
from sb3_ppo_variants.experiments.stats.estimators import center_interval, difference_interval, improvement_interval
from sb3_ppo_variants.experiments.stats.intervals import corrected_level

Draw = Callable[[np.random.Generator, Any], np.ndarray]
Samples = list[np.ndarray]
SEVEN, SEEDS = 7, 3


def failing(rng: np.random.Generator, size: Any) -> np.ndarray:
    """A fifth of the runs fails: they stay at 0, and the others reach about 1."""
    return np.where(rng.random(size) < 0.2, 0.0, rng.normal(1.0, 0.1, size))


DRAWS: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(0.0, 1.0, size),
    "gamma(4)": lambda rng, size: rng.gamma(4.0, 1.0, size),
    "exponential": lambda rng, size: rng.exponential(1.0, size),
    "lognormal": lambda rng, size: rng.lognormal(0.0, 1.0, size),
    "20 % failures": failing,
}
MEANS = {"normal": 0.0, "gamma(4)": 4.0, "exponential": 1.0, "lognormal": np.exp(0.5), "20 % failures": 0.8}


def mean(samples: Samples) -> intervals.Interval | None:
    return intervals.t_interval(samples, np.full(len(samples), 1 / len(samples)))


def one(samples: Samples) -> intervals.Interval | None:
    return center_interval(samples[0])


def pooled(samples: Samples) -> intervals.Interval | None:
    return aggregate(samples).iqm.interval


def difference(samples: Samples) -> intervals.Interval | None:
    return difference_interval(list(zip(samples[::2], samples[1::2], strict=True)))


def improvement(samples: Samples) -> intervals.Interval | None:
    return improvement_interval(list(zip(samples[::2], samples[1::2], strict=True)))


def covered(
    interval: Callable[[Samples], Sequence[float] | None], draw: Draw, shape: tuple[int, int], truth: float, times: int
) -> float:
    """Share of intervals of ``shape`` (samples, runs) that hold the truth."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(times):
        found = interval(list(draw(rng, shape)))
        assert found is not None
        hits += found[0] <= truth <= found[1]
    return hits / times


def true_iqm(draw: Draw, n: int) -> float:
    """Expected interquartile mean of n runs."""
    return float(np.mean(iqm_score(draw(np.random.default_rng(1), (200_000, n)))))


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 799)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("name", ["normal", "gamma(4)"])
def test_means_and_interquartile_means_are_covered(name: str, n: int, few_resamples: None) -> None:
    draw = DRAWS[name]
    assert covered(mean, draw, (1, n), MEANS[name], 2000) >= 0.92
    if n >= 5:
        assert covered(one, draw, (1, n), true_iqm(draw, n), 400) >= 0.92


@pytest.mark.parametrize("name", ["normal", "gamma(4)", "exponential", "20 % failures"])
def test_means_over_environments_are_covered(name: str) -> None:
    draw = DRAWS[name]
    assert covered(mean, draw, (SEVEN, SEEDS), MEANS[name], 1000) >= 0.92
    assert covered(difference, draw, (2 * SEVEN, SEEDS), 0.0, 1000) >= 0.92


@pytest.mark.parametrize(("environments", "n"), [(1, 3), (1, 5), (SEVEN, SEEDS), (1, 10)])
def test_the_probability_of_improvement_is_seldom_taken_for_a_difference(environments: int, n: int) -> None:
    draw = DRAWS["normal"]
    assert covered(improvement, draw, (2 * environments, n), 0.5, 1000) >= 0.93


#: What rows and reference are like, how large the first environment's returns are, and the true difference.
UNLIKE: dict[str, tuple[Draw, Draw, float, float]] = {
    "both normal": (lambda rng, size: rng.normal(1.0, 0.1, size), lambda rng, size: rng.normal(1.0, 0.1, size), 1, 0.0),
    "rows fail 20 %": (failing, lambda rng, size: rng.normal(1.0, 0.1, size), 1, -0.2),
    "rows fail 20 %, first environment × 10": (failing, lambda rng, size: rng.normal(1.0, 0.1, size), 10, -0.2),
    "reference lognormal": (DRAWS["normal"], DRAWS["lognormal"], 1, -MEANS["lognormal"]),
}
ROWS = 12


def covered_unlike(name: str, times: int) -> tuple[float, float]:
    """Coverage of a difference of 7 × 3 runs at 95 %, and that of all :data:`ROWS` corrected ones together."""
    draw, draw_reference, first, difference = UNLIKE[name]
    scale = np.array([[first], *[[1.0]] * (SEVEN - 1)])
    truth, rng, hits = difference * scale.mean(), np.random.default_rng(7), np.zeros(2)
    for _ in range(times):
        reference = list(scale * draw_reference(rng, (SEVEN, SEEDS)))
        rows = [list(zip(scale * draw(rng, (SEVEN, SEEDS)), reference, strict=True)) for _ in range(ROWS)]
        alone, *together = [
            difference_interval(pairs, level)
            for pairs, level in [(rows[0], 0.95), *((row, corrected_level(ROWS)) for row in rows)]
        ]
        hits += (alone.low <= truth <= alone.high, all(found.low <= truth <= found.high for found in together))
    return hits[0] / times, hits[1] / times


#: Numbers of comparisons of five runs against five: with seven, no test by ranks could show a difference.
COMPARISONS = (1, 6, 7, 18)


def excluded(name: str, comparisons: int, times: int) -> float:
    """Expected number of intervals, of so many corrected ones of five runs against five, that miss the truth."""

    def corrected(samples: Samples) -> intervals.Interval | None:
        return difference_interval([(samples[0], samples[1])], corrected_level(comparisons))

    return comparisons * (1 - covered(corrected, DRAWS[name], (2, 5), 0.0, times))


COLUMNS = (
    *("returns", "mean, n = 3", "mean, n = 5", "mean, n = 10", "IQM, n = 5", "IQM, n = 10", "mean, 7 × 3"),
    *("difference, 7 × 3", "IQM, 7 × 3"),
)


def show(console: Console, times: int = 4000) -> None:
    """Print the coverage of nominal 95 % intervals in per cent, for ``experiments/README.md``."""
    console.print(f"| {' | '.join(COLUMNS)} |")
    for name, draw in DRAWS.items():
        cells = [covered(mean, draw, (1, n), MEANS[name], times) for n in (3, 5, 10)]
        cells += [covered(one, draw, (1, n), true_iqm(draw, n), times // 4) for n in (5, 10)]
        cells.append(covered(mean, draw, (SEVEN, SEEDS), MEANS[name], times))
        cells.append(covered(difference, draw, (2 * SEVEN, SEEDS), 0.0, times))
        cells.append(covered(pooled, draw, (SEVEN, SEEDS), true_iqm(draw, SEVEN * SEEDS), times // 4))
        console.print(f"| {name} | {' | '.join(f'{100 * cell:.0f}' for cell in cells)} |")
    console.print(f"| 7 × 3 | difference | {ROWS} corrected differences, all |")
    for name in UNLIKE:
        cells = covered_unlike(name, times)
        console.print(f"| {name} | {' | '.join(f'{100 * cell:.0f}' for cell in cells)} |")
    console.print(f"| 5 against 5 | {' | '.join(map(str, COMPARISONS))} |")
    for name in DRAWS:
        cells = [excluded(name, comparisons, times // 2) for comparisons in COMPARISONS]
        console.print(f"| {name} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")
    for environments, n in ((1, 3), (1, 5), (1, 10), (SEVEN, SEEDS)):
        found = 1 - covered(improvement, DRAWS["normal"], (2 * environments, n), 0.5, times)
        console.print(f"P(better) excludes ½ in {100 * found:.1f} % with {environments} × {n} runs against as many")


if __name__ == "__main__":
    intervals.RESAMPLES = 1999
    show(Console(width=200))
