"""Tables of committed comparisons, and what the pages say of the one on CartPole."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.comparison.tables import comparison_tables, environment_table
from tests.numbers.reading import COMPARE, LONG, READINGS, RESULTS, between, committed, rows, says, table_of
from tests.pages import ROOT


@pytest.mark.parametrize("folder", [pytest.param(f, marks=[pytest.mark.long] if f in LONG else []) for f in READINGS])
def test_the_committed_tables_are_those_of_the_committed_runs(folder: str) -> None:
    tables_and_notes = comparison_tables(*committed(folder))
    assert (ROOT / RESULTS / folder / "table.md").read_text(encoding="utf-8") == tables_and_notes.markdown()


@pytest.mark.parametrize("folder", sorted(LONG))
def test_the_committed_tables_of_environments_are_those_of_the_committed_runs(folder: str) -> None:
    text, (results, _) = (ROOT / RESULTS / folder / "table.md").read_text(encoding="utf-8"), committed(folder)
    for environment in results.environments:
        assert environment_table(results, environment).markdown() in text.replace(" †", "")  # of runs of two processors


COMPARISON = (
    "| algorithm | final return | 95 % | covers | by steps | difference from sb3:ppo | 99 % | P(better than sb3:ppo) | "
    "95 % | p | steps/s | n |"
)
LEARNING = "| algorithm | scores of the five seeds |"
PAGES = {
    "clip_ppo": ("clip_ppo", "`ClipPPO`"),
    "kl_penalty_ppo": ("kl_penalty_ppo", "`KLPenaltyPPO`"),
    "unclipped_ppo": ("unclipped_ppo", "`UnclippedPPO`"),
    "reinforce": ("reinforce", "`REINFORCE`"),
    "trpo": ("paper_trpo", "`TRPO`"),
}


def test_the_comparison_is_the_measured_one() -> None:
    measured = (ROOT / RESULTS / "cartpole/table.md").read_text(encoding="utf-8")
    found = rows(COMPARE, COMPARISON)
    assert len(found) == 6
    for row in found.values():
        assert f"| {' | '.join(row)} |" in measured


def test_the_scores_after_a_longer_training_are_the_committed_ones() -> None:
    found = table_of("learning/scores.csv")
    assert set(found.timesteps) == {149_504}
    for name, scores in found.groupby("algorithm").score:
        assert rows(COMPARE, LEARNING)[f"`{name}`"] == [f"`{name}`", ", ".join(f"{score:.0f}" for score in scores)]
        assert len(scores) == 5
    assert len(rows(COMPARE, LEARNING)) == found.algorithm.nunique()


def test_the_budgets_of_the_comparison() -> None:
    runs = table_of("cartpole/runs.csv")
    says(COMPARE, f"{runs['seconds'].sum() / 2 / 60:.0f} minutes on 2 cores")
    steps = runs[runs["algorithm"] == "reinforce"]["steps_trained"].unique().item()
    says(COMPARE, f"REINFORCE makes {steps // 2048} optimiser steps")
    says(Path("sb3_ppo_variants/algorithms/reinforce.md"), f"{steps // 2048} steps of the optimiser, the second 73")


def test_what_is_said_about_the_comparison() -> None:
    runs = table_of("cartpole/runs.csv").groupby("algorithm")["final_return"].apply(np.array)
    ours, theirs = runs["kl_penalty_ppo"], runs["sb3:ppo"]
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(1 - 0.05 / 5)
    says(
        COMPARE,
        f"{ours.mean() - theirs.mean():.1f} in the mean",
        f"({between(*interval, 1)})",
    )
    row = rows(COMPARE, COMPARISON)["kl_penalty_ppo"]
    low, high = map(float, row[6].strip("[]").split(", "))
    says(COMPARE, f"{row[5]} ahead in the interquartile mean ({between(low, high, 1)}, corrected for five comparisons)")
    covers = [rows(COMPARE, COMPARISON)[name][3] for name in ("unclipped_ppo", "kl_penalty_ppo")]
    says(COMPARE, f"most of a run ({covers[0].removesuffix(' %')} to {covers[1]})")
    unclipped = runs["unclipped_ppo"]
    says(COMPARE, f"with every seed, from {between(unclipped.min(), unclipped.max(), 1)}")
    assert all(unclipped.max() < runs[name].min() for name in ("clip_ppo", "kl_penalty_ppo", "paper_trpo", "sb3:ppo"))


@pytest.mark.parametrize("page", PAGES)
def test_an_algorithms_page_has_its_results(page: str) -> None:
    path = Path(f"sb3_ppo_variants/algorithms/{page}.md")
    zoo_id, name = PAGES[page]
    found, everything = rows(path, COMPARISON), rows(COMPARE, COMPARISON)
    assert found == {key: everything[key] for key in (zoo_id, "sb3:ppo (our settings)")}
    assert rows(path, LEARNING) == {name: rows(COMPARE, LEARNING)[name]}
