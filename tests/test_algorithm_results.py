"""The numbers of ``algorithms/README.md`` that studies of its settings gave are those of the committed runs."""

import numpy as np
import pytest

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.stats.estimators import center, center_interval, difference_interval, mean_difference
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.test_readme import ALGORITHMS, between, committed, number, rows


def scores(results: Results, variant: str, environment: str) -> np.ndarray:
    return np.array(results.scores(variant, environment))


def cell(sample: np.ndarray, digits: int) -> str:
    """Center and 95 % interval."""
    values = list(sample)
    return f"{number(center(values), digits)} ({between(*center_interval(values), digits)})"


def difference(ours: np.ndarray, others: np.ndarray, digits: int, comparisons: int) -> str:
    """With its interval, all comparisons together at 95 %."""
    pair = [(ours, others)]
    interval = difference_interval(pair, corrected_level(comparisons))
    return f"{number(mean_difference(pair), digits, '+')} ({between(*interval, digits, '+')})"


@pytest.mark.parametrize("algorithm", ["clip_ppo", "kl_penalty_ppo"])
def test_betas_where_the_best_actions_lie_at_the_bounds(algorithm: str) -> None:
    results = committed("beta/corners")[0]
    environment = "sb3_ppo_variants/Corners-v0"
    normal, beta = (scores(results, f"{kind}_{algorithm}", environment) for kind in ("gaussian", "beta"))
    assert len(normal) == len(beta) == 10
    expected = [f"`{algorithm}`", cell(normal, 1), cell(beta, 1), difference(beta, normal, 1, 2)]
    table = rows(ALGORITHMS, "| `Corners-v0` | clipped normals | Betas | Betas − normals |")
    assert table[f"`{algorithm}`"] == expected
