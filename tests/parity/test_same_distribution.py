"""The two backends and SB3's PPO give returns of one distribution; the test says how much it could see.

``python -m tests.parity.test_same_distribution`` does the runs of ``zoo_configs/results/parity/backends``.
"""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments import train_run
from tests.pages import ROOT
from tests.parity.same_returns import (
    ENVIRONMENTS,
    LEVEL,
    SEEDS,
    committed,
    do_runs,
    kruskal_of_each,
    runs_of,
    table_row,
)

PAGE = ROOT / "sb3_ppo_variants/backends/README.md"
SETTINGS = {"ent_coef": 0.0, "n_steps": 512}
VARIANTS: dict[str, dict[str, Any]] = {
    "closed form": {"algorithm": "clip_ppo", "settings": {**SETTINGS, "update_backend": "closed_form"}},
    "autograd": {"algorithm": "clip_ppo", "settings": {**SETTINGS, "update_backend": "autograd"}},
    "SB3's PPO": {"algorithm": "sb3:ppo", "settings": SETTINGS},
}


@pytest.mark.long
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_returns_are_statistically_indistinguishable(environment: str) -> None:
    runs = runs_of(environment, VARIANTS)
    samples = [np.array([train_run(run).final_return for run in own]) for own in runs.values()]
    assert stats.kruskal(*samples).pvalue > LEVEL


@pytest.mark.parametrize(("environment", "digits"), list(zip(ENVIRONMENTS, (1, 1, 0), strict=True)))
def test_the_table_is_that_of_the_committed_runs(environment: str, digits: int) -> None:
    samples = committed("backends", environment)
    assert list(samples) == list(VARIANTS)
    assert {len(sample) for sample in samples.values()} == {len(SEEDS)}
    assert table_row(environment, samples, digits) in PAGE.read_text(encoding="utf-8")


def test_many_simulations_at_once() -> None:
    drawn = np.random.default_rng(0).integers(0, 9, (5, 3, 10)).astype(float)  # with ties
    expected = [stats.kruskal(*groups).pvalue for groups in drawn]
    np.testing.assert_allclose(kruskal_of_each(drawn), expected, rtol=1e-12)


if __name__ == "__main__":
    do_runs("backends", VARIANTS)
