"""The score of a trial, against hand arithmetic and SciPy's ranks."""

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.tuning.metric import Metric, choose_metric
from tests.experiments.tuning.fake_trials import cheap_plan

TWO = {"A": (0.0, 10.0), "B": (-100.0, 100.0)}


def metric(aggregation: str) -> Metric:
    return cheap_plan(environments=("A", "B"), references=TWO, aggregation=aggregation).metric


def test_one_environment_is_the_mean_and_from_five_seeds_on_the_iqm() -> None:
    one = cheap_plan(environments=("A",))
    assert one.metric.score({"A": [1.0, 2.0, 9.0]}, []) == 4.0
    assert one.metric.score({"A": [1.0, 2.0, 4.0, 6.0, 900.0]}, []) == 4.0  # without the lowest and the highest


def test_several_environments_are_put_together_on_normalised_returns() -> None:
    returns = {"A": [4.0, 6.0], "B": [-100.0, 0.0]}
    # A: (0.4 + 0.6) / 2 = 0.5; B: (0 + 0.5) / 2 = 0.25
    assert metric("normalised").score(returns, []) == pytest.approx((0.5 + 0.25) / 2)


def test_the_scale_of_an_environment_does_not_matter_to_the_order_by_ranks() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(6, 2, 3))
    raw[3] = raw[1]  # a tie
    trials = [{"A": list(a), "B": list(b * 1000 + 5)} for a, b in raw]
    found = metric("ranks").scores(trials)
    ranks = stats.rankdata(raw.mean(axis=2), axis=0)  # ties share the mean of their ranks
    assert found == pytest.approx(((ranks - 1) / 5).mean(axis=1))
    one_by_one = [metric("ranks").score(t, [*trials[:i], *trials[i + 1 :]]) for i, t in enumerate(trials)]
    assert found == one_by_one
    assert metric("ranks").scores(trials[:1]) == [0.5]


def test_the_score_while_the_study_runs_is_that_against_the_finished() -> None:
    trials = [{"A": [1.0], "B": [1.0]}, {"A": [2.0], "B": [0.0]}, {"A": [3.0], "B": [2.0]}]
    assert metric("ranks").score(trials[0], []) == 0.5
    assert metric("ranks").score(trials[1], trials[:1]) == 0.5  # beats it in A, not in B
    assert metric("ranks").score(trials[2], trials[:2]) == 1.0
    assert metric("ranks").scores(trials) == [pytest.approx(0.25), pytest.approx(0.25), 1.0]


@pytest.mark.parametrize(
    ("environments", "aggregation"), [(("C",), "return"), (("A", "B"), "normalised"), (("A", "C"), "ranks")]
)
def test_returns_are_never_averaged_over_environments_without_a_scale(
    environments: tuple[str, ...], aggregation: str
) -> None:
    assert choose_metric(environments, TWO).name == aggregation
