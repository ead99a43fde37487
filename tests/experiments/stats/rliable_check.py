"""Our aggregate statistics against rliable's: run by ``.ci/run`` in an environment of its own, with the old versions of
pandas and arch that rliable can be imported with (``.ci/rliable-versions.txt``).

``python -m tests.experiments.stats.rliable_check``, from the repository's root.
"""

import numpy as np
from rliable import library, metrics

from sb3_ppo_variants.experiments.stats.aggregates import (
    aggregate,
    gap_score,
    iqm_score,
    mean_score,
    performance_profile,
)
from sb3_ppo_variants.experiments.stats.estimators import mean_improvement
from sb3_ppo_variants.experiments.stats.intervals import bootstrap

RUNS, TASKS, REPETITIONS = 10, 7, 20_000
THRESHOLDS = np.linspace(-0.5, 1.5, 41)


def check_points(scores: np.ndarray) -> None:
    """The four metrics are the same numbers."""
    ours = aggregate(list(scores.T))
    theirs = {
        "mean": metrics.aggregate_mean(scores),
        "iqm": metrics.aggregate_iqm(scores),
        "median": metrics.aggregate_median(scores),
        "gap": metrics.aggregate_optimality_gap(scores),
    }
    for name, expected in theirs.items():
        np.testing.assert_allclose(getattr(ours, name).value, expected, rtol=1e-12, err_msg=name)


def check_intervals(scores: np.ndarray) -> None:
    """Both bootstraps are random: their ends agree to a twentieth of the interval's width. (Ours are then widened, or
    replaced by t intervals.)"""
    measures = (metrics.aggregate_mean, metrics.aggregate_iqm, metrics.aggregate_optimality_gap)
    _, theirs = library.get_interval_estimates(
        {"row": scores}, lambda x: np.array([measure(x) for measure in measures]), reps=REPETITIONS
    )
    for i, measure in enumerate((mean_score, iqm_score, gap_score)):
        interval = bootstrap(list(scores.T), measure).confidence_interval
        np.testing.assert_allclose(interval, theirs["row"][:, i], atol=0.05 * (interval.high - interval.low))


def check_improvement(scores: np.ndarray, others: np.ndarray) -> None:
    """Probability of improvement."""
    pairs = list(zip(scores.T, others.T, strict=True))
    np.testing.assert_allclose(mean_improvement(pairs), metrics.probability_of_improvement(scores, others), rtol=1e-12)


def check_profile(scores: np.ndarray) -> None:
    """Performance profiles: share of runs above each threshold, and the band."""
    theirs, bands = library.create_performance_profile({"row": scores}, THRESHOLDS, reps=2000)
    shares, low, high = performance_profile(list(scores.T), THRESHOLDS)
    np.testing.assert_allclose(shares, theirs["row"], atol=1e-12)
    assert (low <= bands["row"][0] + 0.03).all()  # ours is wider
    assert (high >= bands["row"][1] - 0.03).all()


def main() -> None:
    """Raise where the two disagree."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.4, size=(RUNS, TASKS)) + np.linspace(-0.3, 0.3, TASKS)
    others = rng.normal(0.4, 0.3, size=(RUNS, TASKS))
    check_points(scores)
    check_intervals(scores)
    check_improvement(scores, others)
    check_profile(scores)


if __name__ == "__main__":
    main()
