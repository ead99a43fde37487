"""Measured returns as the pages write them."""

import numpy as np

from sb3_ppo_variants.experiments.stats.estimators import center, center_interval, difference_interval, mean_difference
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.test_readme import between, number


def cell(sample: np.ndarray, digits: int) -> str:
    """Center and 95 % interval."""
    values = list(sample)
    return f"{number(center(values), digits)} ({between(*center_interval(values), digits)})"


def difference(ours: np.ndarray, others: np.ndarray, digits: int, comparisons: int) -> str:
    """With its interval; that many comparisons hold together with 95 %."""
    pair = [(ours, others)]
    interval = difference_interval(pair, corrected_level(comparisons))
    return f"{number(mean_difference(pair), digits, '+')} ({between(*interval, digits, '+')})"
