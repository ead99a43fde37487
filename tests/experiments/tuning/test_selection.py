"""The replay that compares rules for naming a winner."""

import numpy as np
import pytest

from tests.experiments.tuning.selection import RULES, STUDIES, Model, Rule, by_mean, read_returns, simulate, survivors


def test_a_race_gives_the_best_trials_more_seeds() -> None:
    returns = np.zeros((8, 2, 3))
    returns[:, :, 0] = np.arange(8)[:, None]  # the last is best on the first seed
    returns[:, :, 1:] = [[[4.0]], [[9.0]], [[0.0]], [[0.0]], [[0.0]], [[6.0]], [[0.0]], [[0.0]]]
    best, runs = survivors(Rule("race", by_mean, ((None, 1), (2, 3))), returns)
    assert best == [5, 7, 6]  # trial 1 would be the best of three seeds, but falls behind on the first
    assert runs == 8 * 2 + 4 * 2 * 2
    assert survivors(Rule("mean", by_mean, ((None, 3),)), returns) == ([1, 5, 0], 48)


@pytest.mark.parametrize("study", STUDIES)
def test_simulated_studies_are_like_the_measured_one(study: str) -> None:
    returns = read_returns(study)
    model = Model(returns)
    drawn = model.draw(4000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(2), model.truth + model.deviations.mean(2), atol=0.02)
    # Each deviates as the runs of its neighbours do, so on average as much as those of the study do.
    measured = returns.var(2, ddof=1).mean(0)
    np.testing.assert_allclose(drawn.var(2).mean(0), measured, rtol=0.35)
    assert (Model(returns, 1.0).draw(2, np.random.default_rng(1)) == 0).all()


def test_no_rule_names_a_winner_above_the_best_trial() -> None:
    model = Model(read_returns("kl_penalty_ppo-tpe"))
    found = simulate(model, 5)
    assert [row[0] for row in found] == [rule.name for rule in RULES]
    assert all(max(first, confirmed) <= model.truth.mean(1).max() for _, _, first, confirmed, _ in found)
    assert found[0][-1] == 0
