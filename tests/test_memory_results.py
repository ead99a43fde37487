"""The numbers of ``MEMORY.md`` are those of the committed runs."""

from pathlib import Path

import numpy as np
import pytest

from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.stats.estimators import (
    center,
    center_interval,
    difference_interval,
    mean_difference,
)
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.test_readme import between, committed, number, rows

MEMORY = Path("sb3_ppo_variants/MEMORY.md")
ALGORITHMS = ("clip_ppo", "kl_penalty_ppo", "unclipped_ppo", "reinforce", "paper_trpo")
CONTRIB = "contrib:recurrent_ppo"
#: Environment → its folder, the folder of the stacked runs, digits.
ENVIRONMENTS = {
    "CartPoleNoVel-v1": ("memory", "memory/stacked", 1),
    "Recall-v0": ("memory", "memory/stacked", 2),
    "PendulumNoVel-v1": ("memory/pendulum", "memory/pendulum_stacked", 0),
}


def header(environment: str) -> str:
    return f"| algorithm on `{environment}` | memory | four observations | one observation | memory − four observations |"


def scores(results: Results, variant: str, environment: str) -> np.ndarray:
    return np.array(results.scores(variant, f"sb3_ppo_variants/{environment}"))


def cell(sample: np.ndarray, digits: int) -> str:
    values = list(sample)
    return f"{number(center(values), digits)} ({between(*center_interval(values), digits)})"


def difference(ours: np.ndarray, others: np.ndarray, digits: int, comparisons: int) -> str:
    interval = difference_interval([(ours, others)], corrected_level(comparisons))
    return f"{number(mean_difference([(ours, others)]), digits, '+')} ({between(*interval, digits, '+')})"


def memory_table(environment: str) -> dict[str, list[str]]:
    """Row by algorithm: final returns with memory, with stacked observations, with neither, and a difference."""
    folder, stacked_folder, digits = ENVIRONMENTS[environment]
    results, stacked_results = committed(folder)[0], committed(stacked_folder)[0]
    table = {}
    for name in ALGORITHMS:
        memory = scores(results, f"memory_{name}", environment)
        stacked = scores(stacked_results, name, environment.replace("-", "Stack-"))
        assert len(memory) == len(stacked) == 5
        cells = [cell(s, digits) for s in (memory, stacked, scores(results, name, environment))]
        table[f"`{name}`"] = [f"`{name}`", *cells, difference(memory, stacked, digits, len(ALGORITHMS))]
    contrib = cell(scores(results, CONTRIB, environment), digits)
    table[f"`{CONTRIB}`"] = [f"`{CONTRIB}`", contrib, "", "", ""]
    return table


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_memory_is_compared_with_stacking(environment: str) -> None:
    assert rows(MEMORY, header(environment)) == memory_table(environment)
