"""Masks against penalties."""

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
from tests.numbers.reading import between, committed, difference, number, ratio, read, rows, says, table_of

MASKING = Path("sb3_ppo_variants/MASKING.md")
MASKED_ROWS = ("clip_ppo", "kl_penalty_ppo", "unclipped_ppo", "reinforce", "paper_trpo")
#: An algorithm's masked variant; sb3-contrib's with masks is beside SB3's with penalties.
MASKED_VARIANT = {name: f"masked_{name}" for name in MASKED_ROWS} | {"sb3:ppo": "contrib:maskable_ppo"}


def masks_and_penalties(results: Results, environment: str) -> dict[str, list[str]]:
    """Row by algorithm: final return with masks, with penalties, and the difference, each with its interval."""
    level = corrected_level(len(MASKED_VARIANT))
    table = {}
    for penalised, masked in MASKED_VARIANT.items():
        scores = [np.array(results.scores(variant, environment)) for variant in (masked, penalised)]
        cells = [f"{number(center(s), 2)} ({between(*center_interval(s), 2)})" for s in map(list, scores)]
        interval = difference_interval([tuple(scores)], level)
        cells.append(f"{number(mean_difference([tuple(scores)]), 2, '+')} ({between(*interval, 2, '+')})")
        name = f"`{penalised}`" if penalised in MASKED_ROWS else f"`{masked}` and `{penalised}`"
        table[name] = [name, *cells]
    return table


@pytest.mark.parametrize("environment", ["Maze", "Packing"])
def test_masks_are_compared_with_penalties(environment: str) -> None:
    expected = masks_and_penalties(committed("masks")[0], f"sb3_ppo_variants/{environment}-v0")
    assert rows(MASKING, f"| algorithm on `{environment}` | masked | penalised | difference |") == expected


def test_what_is_said_about_masks() -> None:
    results, ppos = committed("masks")[0], ("clip_ppo", "kl_penalty_ppo", "sb3:ppo")
    maze, packing = results.environments
    penalised = sorted(score for name in ppos for score in results.scores(name, maze))
    masked = [score for name in ppos for score in results.scores(MASKED_VARIANT[name], maze)]
    low = " and ".join(number(score, 2) for score in penalised[:2])
    says(MASKING, f"`PPO` ({low}), whose arithmetic differs by rounding;", f"none did ({min(masked):.2f} and more)")
    assert {int(np.argmin(results.scores(name, maze))) for name in ("clip_ppo", "sb3:ppo")} == {3}
    assert len(penalised) == len(masked) == 15
    assert penalised[2] > 0.7
    assert results.scores("clip_ppo", packing) == results.scores("sb3:ppo", packing)
    for penalised_name, masked_name in MASKED_VARIANT.items():
        assert max(results.scores(penalised_name, packing)) < min(results.scores(masked_name, packing))
        assert max(results.scores(penalised_name, packing)) < 0  # only penalties take a return below 0


def test_what_the_masks_are_worth_before_the_first_update() -> None:
    results, curves = committed("masks")[0], table_of("masks/curves.csv")
    first, said = curves[curves["timesteps"] == 2048], []
    for environment in results.environments:
        here = first[first["environment"] == environment].groupby("row")["mean_return"]
        assert set(here.count()) == {5}
        masked, penalised = (here.mean()[name] for name in ("masked_clip_ppo", "clip_ppo"))
        assert here.mean()["masked_reinforce"] == masked
        said.append((masked - penalised, number(masked, 2), number(penalised, 2)))
        gains = [center(results.scores(f"{prefix}clip_ppo", environment)) for prefix in ("masked_", "")]
    (maze, *in_maze), (packing, *in_packing) = said
    says(
        MASKING,
        "{:.1f} higher in the maze ({} against {})".format(maze, *in_maze),
        "{:.2f} in packing ({} against {})".format(packing, *in_packing),
        f"`ClipPPO` gains {gains[0] - masked:.2f} with masks and {gains[1] - penalised:.2f} without in packing",
    )
    # An episode that never leaves the maze has a return of −2 or, with penalties, less.
    stays = [
        sum(score < -1.9999 for score in results.scores(f"{masked}unclipped_ppo", results.environments[0]))
        for masked in ("masked_", "")
    ]
    assert stays == [3, 5]


def test_what_is_said_about_the_two_with_masks() -> None:
    results, said = committed("masks")[0], []
    for environment in results.environments:
        ours, theirs = (
            np.array(results.scores(name, environment)) for name in ("masked_clip_ppo", "contrib:maskable_ppo")
        )
        said.append(difference(ours, theirs, 3, 2))
    says(MASKING, f"no difference is shown: {said[0]} in the maze and {said[1]} in packing")


def test_the_speed_with_masks_is_the_measured_one() -> None:
    (measured,) = read("speed/masks.json")["measurements"]
    closed_form, autograd = (
        ratio(measured, ours, "contrib:maskable_ppo") for ours in ("clip_ppo, masks", "clip_ppo, masks, autograd")
    )
    says(MASKING, f"{closed_form[0]} times as fast as `MaskablePPO` {closed_form[1][:-1]} in three interleaved rounds")
    says(MASKING, f"by autograd {autograd[0]} times {autograd[1]}")
    assert len(measured["floor"]) == 3
