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


# ---- Learning rates ----

RATES = "learning_rate/confirm"
CHOSEN = {"rate_3e-3": "fixed 3e-3", "rate_kl_0.01": "`kl_0.01`", "rate_3e-4": "fixed 3e-4"}


def score_difference(results: Results, variant: str) -> str:
    """From the reference, in mean score over the environments, as the comparison's verdict has it."""
    pairs = list(zip(results.samples(variant), results.samples(results.reference), strict=True))
    found = difference_of_means(pairs, results.level)
    assert found.interval is not None
    return f"{number(found.value, 2, '+')} ({between(*found.interval, 2, '+')})"


def test_rates_that_follow_the_kl_are_compared_with_fixed_ones() -> None:
    results = committed(RATES)[0]
    assert results.reference == "rate_3e-3"
    table = rows(ALGORITHMS, f"| environment | {' | '.join(CHOSEN.values())} | `kl_0.01` − fixed 3e-3 |")
    for environment in results.environments:
        samples = {variant: scores(results, variant, environment) for variant in CHOSEN}
        assert {len(sample) for sample in samples.values()} == {10}
        digits = 0 if "Pendulum-v1" in environment or "Half" in environment else 1
        cells = [cell(sample, digits) for sample in samples.values()]
        compared = difference(samples["rate_kl_0.01"], samples["rate_3e-3"], digits, 2)
        assert table[environment] == [environment, *cells, compared]


def test_what_is_said_about_rates() -> None:
    confirmed, chosen = committed(RATES)[0], committed("learning_rate")[0]
    says(ALGORITHMS, f"In mean score over the five environments `kl_0.01` differs by {score_difference(confirmed, 'rate_kl_0.01')}")
    means = {name: np.mean([sample.mean() for sample in chosen.samples(name)]) for name in chosen.variants}
    fixed = {name: value for name, value in means.items() if "kl" not in name}
    following = {name: value for name, value in means.items() if "kl" in name}
    assert max(fixed, key=fixed.__getitem__) == "rate_3e-3"
    assert max(following, key=following.__getitem__) == "rate_kl_0.01"
