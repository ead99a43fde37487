"""The numbers on the pages are those of the code and of the committed results. What else the pages say is tested in
``test_pages.py``."""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.comparison.presets import preset
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.comparison.tables import comparison_tables, environment_table
from sb3_ppo_variants.experiments.engine.transfer import read_runs
from sb3_ppo_variants.experiments.stats.estimators import (
    center,
    center_interval,
    difference_interval,
    mean_difference,
)
from sb3_ppo_variants.experiments.stats.intervals import Interval, corrected_level
from sb3_ppo_variants.experiments.tuning.pictures import importances
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord
from tests.pages import ROOT, prose, tables

README = Path("README.md")
ALGORITHMS = Path("sb3_ppo_variants/algorithms/README.md")
BACKENDS = Path("sb3_ppo_variants/backends/README.md")
COMPARE = Path("sb3_ppo_variants/experiments/comparison/README.md")
EXPERIMENTS = Path("sb3_ppo_variants/experiments/README.md")
ENGINE = Path("sb3_ppo_variants/experiments/engine/README.md")
TUNING = Path("sb3_ppo_variants/experiments/tuning/README.md")
RESULTS = Path("zoo_configs/results")


def rows(page: Path, header: str) -> dict[str, list[str]]:
    """First cell → row, of the only table with a header."""
    (table,) = tables(page, header)
    return {row[0]: row for row in table if not row[0].startswith("-")}


def says(page: Path, *texts: str) -> None:
    """The page has each text, wherever its lines end."""
    words = " ".join(prose(page).split())
    for text in texts:
        assert text in words, f"{page} does not say: {text}"


def number(value: float, digits: int, sign: str = "-") -> str:
    """A number as the pages write it, with a minus sign that is one.

    :param sign: ``"+"`` to have the sign of a positive number too
    """
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def between(low: float, high: float, digits: int, sign: str = "-") -> str:
    return f"{number(low, digits, sign)} to {number(high, digits, sign)}"


def bare(interval: str, sign: str = "-") -> str:
    """An interval of a measured table as the pages write it."""
    ends = interval.strip("[]").split(", ")
    return " to ".join(number(float(end), len(end.partition(".")[2]), sign) for end in ends)


def read(path: str) -> Any:
    return json.loads((ROOT / RESULTS / path).read_text(encoding="utf-8"))


def table_of(path: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / RESULTS / path)


# ---- Defaults ----


def test_the_documented_defaults_are_in_the_table() -> None:
    text = prose(README)
    for documented in DOCUMENTED:
        assert f"| {documented.symbol} | `{documented.argument}` | {documented.default} |" in text


# ---- Tables of comparisons ----

LONG = {"table1", "table1/sb3_reading"}  # a thousand resamples of hundreds of runs, again and again
MEMORY = ("memory", "memory/stacked", "memory/fast_form", "memory/pendulum", "memory/pendulum_stacked")
READINGS = {"table1": "paper", "table1/sb3_reading": "sb3", "table1/million": "paper"}
READINGS |= dict.fromkeys(("cartpole", "masks", "beta/corners", "learning_rate", "learning_rate/confirm", *MEMORY))


def committed(folder: str) -> tuple[Results, Sequence[str]]:
    """The committed runs of a comparison, and what its preset notes."""
    reading = READINGS[folder]
    chosen = None if reading is None else preset("table1", reading)
    records = [dataclasses.replace(r, imported_from=None) for r in read_runs(str(ROOT / RESULTS / folder))]
    if chosen is None:
        names = [record.run.variant for record in records]
        return Results(records, "sb3:ppo" if "sb3:ppo" in names else names[0]), ()
    return Results(records, chosen.reference, chosen.published), chosen.notes


@pytest.mark.parametrize("folder", [pytest.param(f, marks=[pytest.mark.long] if f in LONG else []) for f in READINGS])
def test_the_committed_tables_are_those_of_the_committed_runs(folder: str) -> None:
    tables_and_notes = comparison_tables(*committed(folder))
    assert (ROOT / RESULTS / folder / "table.md").read_text(encoding="utf-8") == tables_and_notes.markdown()


@pytest.mark.parametrize("folder", sorted(LONG))
def test_the_committed_tables_of_environments_are_those_of_the_committed_runs(folder: str) -> None:
    text, (results, _) = (ROOT / RESULTS / folder / "table.md").read_text(encoding="utf-8"), committed(folder)
    for environment in results.environments:
        assert environment_table(results, environment).markdown() in text


# ---- CartPole ----

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
    says(
        COMPARE,
        f"{row[5]} ahead of SB3's `PPO` in the interquartile mean ({bare(row[6])}, corrected for five comparisons)",
    )
    covers = [rows(COMPARE, COMPARISON)[name][3] for name in ("unclipped_ppo", "kl_penalty_ppo")]
    says(COMPARE, f"most of such a run ({covers[0].removesuffix(' %')} to {covers[1]})")
    unclipped = runs["unclipped_ppo"]
    says(COMPARE, f"with every seed, from {between(unclipped.min(), unclipped.max(), 1)}")
    assert all(unclipped.max() < runs[name].min() for name in ("clip_ppo", "kl_penalty_ppo", "paper_trpo", "sb3:ppo"))


# ---- Masks against penalties ----

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
        difference = difference_interval([tuple(scores)], level)
        cells.append(f"{number(mean_difference([tuple(scores)]), 2, '+')} ({between(*difference, 2, '+')})")
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
    says(MASKING, f"Two of their fifteen penalised runs ended far below the others ({low})")
    says(MASKING, f"none of the fifteen masked ones did ({min(masked):.2f} and more)")
    assert len(penalised) == len(masked) == 15
    assert penalised[2] > 0.7
    for penalised_name, masked_name in MASKED_VARIANT.items():
        assert max(results.scores(penalised_name, packing)) < min(results.scores(masked_name, packing))


@pytest.mark.parametrize("page", PAGES)
def test_an_algorithms_page_has_its_results(page: str) -> None:
    path = Path(f"sb3_ppo_variants/algorithms/{page}.md")
    zoo_id, name = PAGES[page]
    found, everything = rows(path, COMPARISON), rows(COMPARE, COMPARISON)
    assert found == {key: everything[key] for key in (zoo_id, "sb3:ppo (our settings)")}
    assert rows(path, LEARNING) == {name: rows(COMPARE, LEARNING)[name]}


# ---- Table 1 ----

TABLE1 = (
    "| row | published (1M steps) | measured (300k) | 95 % | random policy 0, reference 1 | rank published | "
    "rank measured | 95 % | P(first) |"
)
DIFFERENCES = "| row | difference from ε 0.2 | 99.6 % | random policy 0, reference 1 | 99.6 % |"
#: The rows on the page, in order.
TABLE1_ROWS = {
    "no_clipping": "no clipping or penalty",
    "clip_0.1": "clipping, ε 0.1",
    "clip_0.2": "clipping, ε 0.2",
    "clip_0.3": "clipping, ε 0.3",
    "adaptive_kl_0.003": "adaptive KL, target 0.003",
    "adaptive_kl_0.01": "adaptive KL, target 0.01",
    "adaptive_kl_0.03": "adaptive KL, target 0.03",
    "fixed_kl_0.3": "fixed KL, β 0.3",
    "fixed_kl_1": "fixed KL, β 1",
    "fixed_kl_3": "fixed KL, β 3",
    "fixed_kl_10": "fixed KL, β 10",
    "trpo": "TRPO, same conventions",
    "sb3_ppo": "SB3's `PPO` as it is",
}
OF_ANOTHER_PAPER = ("trpo", "sb3_ppo")


def test_table1_is_the_measured_one() -> None:
    measured = RESULTS / "table1/table.md"
    published, scores, shipped = rows(measured, PUBLISHED), *(by_name(found) for found in tables(measured, SCORES))
    shown = {name.strip("*"): [cell.strip("*") for cell in row] for name, row in rows(COMPARE, TABLE1).items()}
    assert list(shown) == list(TABLE1_ROWS.values())
    for name, label in TABLE1_ROWS.items():
        if name in OF_ANOTHER_PAPER:
            expected = ["", *scores[name][1:3], shipped[name][1], "", "", "", ""]
        else:
            _, theirs, ours, interval, on_shipped, *ranks, _ = published[name]
            expected = [theirs.replace("-", "−"), ours, interval, on_shipped, *ranks]
        expected[2] = bare(expected[2])
        assert shown[label][1:] == expected
    says(COMPARE, f"ε 0.2 in {float(published['clip_0.2'][8]):.0%} of resamples".replace("%", " %"))
    says(
        ALGORITHMS,
        f"ε 0.2 is first there ({scores['clip_0.2'][1]})",
        f"target 0.01 has {scores['adaptive_kl_0.01'][1]}, TRPO {scores['trpo'][1]}, and no restraint "
        f"{scores['no_clipping'][1]}",
    )


PUBLISHED = (
    "| row | published | measured | 95 % | measured (random policy 0, reference 1) | rank published | rank measured | "
    "95 % | P(first) | runs |"
)
SCORES, SB3_SCORES = (
    f"| row | mean | 95 % | difference from clip_0.2 | {level} % | rank | 95 % | P(first) | IQM | 95 % | median | "
    "optimality gap | P(better than clip_0.2) | 95 % | p | runs |"
    for level in ("99.6", "97.5")
)
ENVIRONMENT = (
    "| row | final return | 95 % | covers | by steps | difference from clip_0.2 | 99.6 % | P(better than clip_0.2) | "
    "95 % | p | steps/s | n |"
)


def by_name(table: list[list[str]]) -> dict[str, list[str]]:
    return {row[0]: row for row in table if not row[0].startswith("-")}


def table1_scores(one: Callable[[str, pd.Series], float]) -> pd.DataFrame:
    """Normalised scores, one column a row of Table 1, one line an environment and seed; uniform actions are 0.

    :param one: Environment and its returns in the paper's rows → the return that is 1
    """
    runs = table_of("table1/runs.csv.gz")
    ends = {}
    for environment, returns in runs[~runs["row"].isin(OF_ANOTHER_PAPER)].groupby("environment")["final_return"]:
        zero = references()[environment]["random"]
        ends[environment] = (zero, one(environment, returns) - zero)
    runs["score"] = [
        (value - ends[environment][0]) / ends[environment][1]
        for environment, value in zip(runs["environment"], runs["final_return"], strict=True)
    ]
    return runs.pivot(index=["environment", "seed"], columns="row", values="score")


@cache
def references() -> dict[str, dict[str, Any]]:
    path = ROOT / "sb3_ppo_variants/experiments/stats/references.json"
    return json.loads(path.read_text(encoding="utf-8"))["environments"]


def best_run(environment: str, returns: pd.Series) -> float:
    return float(returns.max())


def shipped_reference(environment: str, returns: pd.Series) -> float:
    return float(references()[environment]["reference"])


def difference(scores: pd.DataFrame, name: str, comparisons: int) -> tuple[float, tuple[float, float]]:
    """A row's mean score over environments minus that of ε 0.2, with Welch's t interval (Satterthwaite's degrees of
    freedom over all cells), corrected by Bonferroni."""
    cells = scores[[name, "clip_0.2"]].groupby("environment")
    n_environments, n_seeds = len(cells), int(cells.size().iloc[0])
    means = cells.mean().mean()
    variances = (cells.var() / n_seeds / n_environments**2).to_numpy().ravel()
    freedom = variances.sum() ** 2 / (variances**2 / (n_seeds - 1)).sum()
    half = stats.t.ppf(1 - 0.05 / comparisons / 2, freedom) * np.sqrt(variances.sum())
    found = means[name] - means["clip_0.2"]
    return found, (found - half, found + half)


def test_differences_from_clipping_are_those_of_the_runs() -> None:
    others = [name for name in TABLE1_ROWS if name != "clip_0.2"]
    on_the_papers, on_ours = table1_scores(best_run), table1_scores(shipped_reference)
    shown = rows(COMPARE, DIFFERENCES)
    assert list(shown) == [TABLE1_ROWS[name] for name in others]
    worse = []
    for name in others:
        found, interval = difference(on_the_papers, name, len(others))
        ours, its = difference(on_ours, name, len(others))
        ours = round(ours, 2) + 0  # no minus before a zero
        expected = [number(found, 2, "+"), between(*interval, 2, "+"), number(ours, 2, "+"), between(*its, 2, "+")]
        assert shown[TABLE1_ROWS[name]][1:] == expected
        worse += [name] if interval[1] < 0 else []
    assert worse == ["no_clipping", "adaptive_kl_0.003", "fixed_kl_3", "fixed_kl_10"]
    said = {name: difference(on_ours, name, len(others)) for name in others}
    assert [name for name in others if said[name][1][1] < 0] == ["no_clipping", "fixed_kl_10"]
    says(COMPARE, f"{on_ours['clip_0.3'].mean():.3f} against {on_ours['clip_0.2'].mean():.3f}")
    first, last = on_the_papers["clip_0.2"].mean(), on_the_papers["no_clipping"].mean()
    gaps = [difference(on_the_papers, name, len(others)) for name in ("no_clipping", "fixed_kl_10")]
    (none, its_interval), (strongest, its_own) = [(number(found, 2), between(*interval, 2)) for found, interval in gaps]
    says(
        README,
        f"mean score {first:.2f}) and the row without clipping or penalty last ({last:.2f})",
        f"The difference is {none} (95 % interval, corrected for twelve comparisons: {its_interval})",
        f"({strongest}, {its_own})",
    )


def test_the_million_steps_are_the_measured_ones() -> None:
    short, long = (table_of(f"table1/{name}runs.csv.gz") for name in ("", "million/"))
    labels = {"fixed_kl_3": "β 3", "fixed_kl_10": "β 10", "clip_0.2": "ε 0.2", "clip_0.3": "ε 0.3"}
    for name, label in labels.items():
        ends = []
        for runs in (short, long):
            chosen = (runs["row"] == name) & (runs["environment"] == "HalfCheetah-v5") & (runs["seed"] == 0)
            ends.append(runs[chosen]["final_return"].item())
        says(COMPARE, f"{label} from {between(*ends, 0)}")
    assert long[long["environment"] == "InvertedPendulum-v5"]["final_return"].min() > 920


def test_rank_correlations_and_the_other_reading() -> None:
    header = "| scale | Spearman's ρ | 95 % | ρ with one row left out | Kendall's τ | 95 % |"
    agreement = [row[1:4] for row in rows(RESULTS / "table1/table.md", header).values()]
    value, interval, left_out = agreement[0]
    lowest, highest = left_out.split(" (without no_clipping) to ")
    values = sorted(float(row[0]) for row in agreement)
    says(
        COMPARE,
        f"ρ is {value} ({bare(interval)})",
        f"{values[0]:.2f} to {values[-1]:.2f} in the four readings",
        f"ρ is {lowest} (without the row without clipping or penalty) to {highest}",
    )
    scores = by_name(tables(RESULTS / "table1/sb3_reading/table.md", SB3_SCORES)[0])
    texts = [f"{row[1]} ({bare(row[2])})" for row in scores.values()]
    says(COMPARE, f"score {texts[0]}, {texts[1]} and {texts[2]}")
    low, high = (f"+{row[3]}, {bare(row[4], '+')}" for name, row in scores.items() if name != "clip_0.2")
    says(COMPARE, f"({low}; {high})")


def test_the_shares_that_scores_cover_are_the_measured_ones() -> None:
    environments = sorted(table_of("table1/runs.csv.gz")["environment"].unique())
    found = tables(RESULTS / "table1/table.md", ENVIRONMENT)
    by_environment = {
        environment: {row[3] for row in by_name(table).values()}
        for environment, table in zip(environments, found, strict=True)
    }
    assert by_environment["HalfCheetah-v5"] == {"33 %"}
    assert by_environment["Reacher-v5"] == {"2 %"}
    says(COMPARE, "33 % on HalfCheetah, 2 % on Reacher")


def test_the_coverage_of_intervals_is_the_simulated_one() -> None:
    table, shares = [], []
    for line in (ROOT / RESULTS / "statistics/coverage.txt").read_text(encoding="utf-8").splitlines():
        (table if line.startswith("|") else shares).append(line)
    header, *lines = table
    shown = [row for row in tables(EXPERIMENTS, header)[0] if not row[0].startswith("-")]
    assert [f"| {' | '.join(row)} |" for row in shown] == lines
    three, five, ten, seven = (f"{float(line.split()[4]):g} %" for line in shares)
    says(EXPERIMENTS, f"excludes ½ in {three} (3 seeds against 3), {five} (5), {ten} (10) and {seven} (7 × 3)")


# ---- Speed ----

SPEED = (
    "| environment | envs | environment alone | `ClipPPO` | SB3 `PPO` | times as fast | with a callback of yours | "
    "than SBX `PPO` | `TRPO` | contrib `TRPO` | times as fast |"
)
SHORT_SPEED = "| environment | environments | `ClipPPO` over SB3's `PPO` | `TRPO` over sb3-contrib's |"


def median_time(splits: dict[str, list[float]]) -> str:
    return f"{np.median(np.sum(list(splits.values()), axis=0)):.0f}"


def ratio(measurement: dict[str, Any], ours: str, peer: str) -> tuple[str, str]:
    """Median and range."""
    (found,) = (r for r in measurement["ratios"] if (r["ours"], r["peer"]) == (ours, peer))
    return f"{found['median']:.1f}", f"({found['low']:.1f} to {found['high']:.1f})"


def test_the_speed_tables_are_the_measured_ones() -> None:
    measured = read("speed/default.json")["measurements"]
    (shown,), (short,) = tables(BACKENDS, SPEED), tables(README, SHORT_SPEED)
    for one, row, short_row in zip(measured, shown, short, strict=True):
        times = {name: median_time(splits) for name, splits in one["splits"].items()}
        clip, own, sbx, trpo = (
            ratio(one, *pair)
            for pair in (
                ("clip_ppo", "sb3:ppo"),
                ("clip_ppo, own callback", "sb3:ppo"),
                ("clip_ppo", "sbx:PPO"),
                ("paper_trpo", "contrib:trpo"),
            )
        )
        where = [one["environment"], str(one["n_envs"])]
        bold = ["**{}** {}".format(*found) for found in (clip, sbx, trpo)]
        ours = [f"{np.median(one['floor']):.0f}", times["clip_ppo"], times["sb3:ppo"], bold[0], " ".join(own), bold[1]]
        assert row == [*where, *ours, times["paper_trpo"], times["contrib:trpo"], bold[2]]
        assert short_row == [*where, " ".join(clip), " ".join(trpo)]
    medians = sorted(float(ratio(one, "clip_ppo", "sb3:ppo")[0]) for one in measured)
    says(README, f"{medians[0]} to {medians[-1]} times in the four settings")


def test_the_other_speeds_are_the_measured_ones() -> None:
    on_xeon = read("speed/default_xeon.json")["measurements"]
    xeon = [ratio(one, "clip_ppo", "sb3:ppo")[0] for one in on_xeon]
    says(BACKENDS, f"HalfCheetah alone takes {np.median(on_xeon[0]['floor']):.0f} µs")
    says(BACKENDS, f"gave {', '.join(xeon[:3])} and {xeon[3]} over SB3's `PPO`")
    wide = [ratio(one, "clip_ppo", "sb3:ppo")[0] for one in read("speed/wide.json")["measurements"]]
    says(BACKENDS, "{} times as fast at width 256 and {} at 512 with one environment, {} and {} with 64".format(*wide))
    for name in ("default", "wide"):
        found = [
            r["median"]
            for one in read(f"speed/{name}.json")["measurements"]
            for r in one["ratios"]
            if (r["ours"], r["peer"]) == ("clip_ppo autograd", "sb3:ppo")
        ]
        says(BACKENDS, f"{min(found):.2f} to {max(found):.2f}")


def test_the_speed_with_masks_is_the_measured_one() -> None:
    (measured,) = read("speed/masks.json")["measurements"]
    closed_form, autograd = (
        ratio(measured, ours, "contrib:maskable_ppo") for ours in ("clip_ppo, masks", "clip_ppo, masks, autograd")
    )
    says(MASKING, f"{closed_form[0]} times as fast as `MaskablePPO` {closed_form[1][:-1]} in three interleaved rounds")
    says(MASKING, f"by autograd {autograd[0]} times {autograd[1]}")
    assert len(measured["floor"]) == 3


def test_what_scheduling_costs_is_the_measured_share() -> None:
    text = (ROOT / RESULTS / "engine/scaling.txt").read_text(encoding="utf-8")
    costs = re.findall(r"cost (\S+) %", text)
    ratios = re.findall(r"two over one: (\S+); (\S+) with", text)[0]
    instant = [float(found) for found in re.findall(r"(\S+) ms each", text)]
    says(
        ENGINE,
        "took {} % of the time in one process and {} % in two".format(*costs),
        "which were {} times as fast ({} with the start".format(*ratios),
        f"A run of no length costs {min(instant)} to {max(instant)} ms",
    )


def test_the_machine_of_the_timing_is_on_the_page() -> None:
    kept = read("speed/default.json")
    machine, made_with = kept["machine"], kept["versions"]
    torch, sb3 = made_with["torch"].removesuffix("+cpu"), made_with["stable-baselines3"]
    says(
        BACKENDS,
        f"of an {machine['processor']} shared with others, Python {machine['python']}, torch {torch} (CPU), "
        f"numpy {made_with['numpy']}, SB3 {sb3}, "
        f"SBX {made_with['sbx-rl']} (jax {made_with['jax']}), gymnasium {made_with['gymnasium']}",
    )


# ---- Tuning ----

STUDIES = (
    "| command (with these environments) | trials | defaults, best trial (tuning seeds) | defaults, best trial (test "
    "seeds) | confirmed difference |"
)
BY_ENVIRONMENT = "| environment | `ClipPPO`, trial 13 | 99.7 % | `KLPenaltyPPO`, trial 16 | 99.5 % |"
TUNED = {"clip_ppo": "trial 13", "kl_penalty_ppo": "trial 16"}


@cache
def confirmation(algorithm: str) -> dict[tuple[str, str], list[str]]:
    """(Setting, environment) → difference and its interval, from the study's report."""
    page = (ROOT / RESULTS / f"tuning/{algorithm}/report.html").read_text(encoding="utf-8")
    lines = [re.findall(r"<t[hd]\b.*?>([^<]*)</t[hd]>", line) for line in page.split("<tr ")]
    # Name, environment, return, defaults, difference, interval, …
    return {(line[0], line[1]): line[4:6] for line in lines if len(line) == 12}


def normalised(study: dict[str, Any], returns: dict[str, list[float]]) -> float:
    """Mean over environments of normalised interquartile means."""
    scores = []
    for environment, values in returns.items():
        zero, one = study["plan"]["references"][environment]
        scores.append((stats.trim_mean(values, 0.25) - zero) / (one - zero))
    return float(np.mean(scores))


def test_the_studies_are_the_measured_ones() -> None:
    for (algorithm, best), row in zip(TUNED.items(), tables(TUNING, STUDIES)[0], strict=True):
        study = read(f"tuning/{algorithm}/study.json")
        scores = {trial["number"]: trial["score"] for trial in study["trials"]}
        winner = max(scores, key=scores.__getitem__)
        assert best == f"trial {winner}"
        on_test = {c["name"]: normalised(study, c["returns"]) for c in study["candidates"]}
        gain, interval = confirmation(algorithm)[best, "all, normalised"]
        assert row[1:4] == [
            str(len(scores)),
            f"{scores[0]:.3f}, {scores[winner]:.3f}",
            f"{on_test['defaults']:.3f}, {on_test[best]:.3f}",
        ]
        assert re.fullmatch(rf"\*\*{re.escape(gain)}\*\* \(\d+\.\d %: {re.escape(interval)}\)", row[4])


def test_gains_by_environment_are_the_measured_ones() -> None:
    shown = rows(TUNING, BY_ENVIRONMENT)
    for environment, row in shown.items():
        assert row[1:] == [cell for a, best in TUNED.items() for cell in confirmation(a)[best, environment]]
    clip = confirmation("clip_ppo")
    says(TUNING, "({}, {})".format(*clip["trial 30", "HalfCheetah-v5"]))
    gain, interval = clip["trial 13", "all, normalised"]
    loss, its_interval = clip["trial 13", "Acrobot-v1"]
    says(README, f"{gain} in normalised score (98.3 % interval {interval})")
    says(README, f"lose {loss.strip('−')}, which is not told from zero ({its_interval})")


def test_what_is_said_about_the_clip_study() -> None:
    study = read("tuning/clip_ppo/study.json")
    candidates = {c["name"]: c for c in study["candidates"]}
    only_pendulum = candidates["defaults"]["returns"] | {
        "Pendulum-v1": candidates["trial 13"]["returns"]["Pendulum-v1"]
    }
    defaults = normalised(study, candidates["defaults"]["returns"])
    gain = normalised(study, candidates["trial 13"]["returns"]) - defaults
    share = (normalised(study, only_pendulum) - defaults) / gain
    says(TUNING, f"{share:.0%} of `ClipPPO`'s gain".replace("%", " %"))
    says(README, f"Pendulum accounts for {share:.0%} of that".replace("%", " %"))
    trials = sorted(study["trials"], key=lambda trial: -trial["score"])
    says(TUNING, f"(+{trials[0]['score'] - study['trials'][0]['score']:.3f})")
    best = [trial["values"] for trial in trials[:5]]
    says(
        TUNING,
        f"ε of {ends(best, lambda v: v['clip_range'])} below 1",
        f"{ends(best, lambda v: v['clip_range'] * v['clip_range_high'])} above it",
        f"λ of {ends(best, lambda v: v['gae_lambda'])}",
        f"c₁ of {ends(best, lambda v: v['vf_coef'], '.2g')}",
        f"c₂ of {ends(best, lambda v: v['ent_coef'], '.3f')}",
        f"learning rate of {best[0]['learning_rate']:.4f}",
        f"γ {best[0]['gamma']:.3f}",
    )
    assert {v["n_epochs"] for v in best} == {9, 10}
    assert max(t["score"] for t in trials if 3 <= t["values"]["n_epochs"] <= 6) < 0.36


def ends(settings: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], form: str = ".2f") -> str:
    values = [value(one) for one in settings]
    return f"{min(values):{form}} to {max(values):{form}}"


SELECTION = (
    "| rule | runs (`ClipPPO`) | `ClipPPO` | `KLPenaltyPPO` | `ClipPPO`, one more run in ten fails | `KLPenaltyPPO`, "
    "likewise |"
)


def test_what_is_said_about_the_defaults_and_the_importances() -> None:
    study = read("tuning/clip_ppo/study.json")
    defaults, winner, *_ = (c["returns"] for c in study["candidates"])
    tuned = {trial["number"]: trial["score"] for trial in study["trials"]}
    says(
        TUNING,
        f"it went from {tuned[13]:.3f} to {normalised(study, winner):.3f}. The defaults rose from {tuned[0]:.3f} to "
        f"{normalised(study, defaults):.3f}",
        "because one of their three tuning runs on Acrobot had failed",
    )
    others = read("tuning/kl_penalty_ppo/study.json")
    others_defaults = normalised(others, others["candidates"][0]["returns"])
    says(TUNING, f"`KLPenaltyPPO` score {others_defaults:.3f} and those of `ClipPPO` {normalised(study, defaults):.3f}")
    assert sum(value < -490 for value in study["trials"][0]["returns"]["Acrobot-v1"]) == 1
    assert min(defaults["Acrobot-v1"]) > -110
    plan, trials = StudyPlan.from_json(study["plan"]), [TrialRecord(**trial) for trial in study["trials"]]
    shares = importances(plan, trials)
    assert shares is not None
    (first, share), (second, next_share) = list(shares.items())[:2]
    assert (first, second) == ("learning_rate", "clip_range")
    says(
        TUNING,
        f"({share:.2f}; next ε with {next_share:.2f}), which rest on the best {len(trials) // 10} of {len(trials)}",
    )


def test_pruning_would_have_done_what_the_page_says() -> None:
    audits = []
    for algorithm in TUNED:
        study = read(f"tuning/{algorithm}/study.json")
        plan = StudyPlan.from_json(study["plan"])
        found = audit([TrialRecord(**trial) for trial in study["trials"]], plan)
        assert found is not None
        assert not found.best_lost
        audits.append(found)
    ended = " and ".join(f"{len(found.pruned)} of {found.trials}" for found in audits)
    saved = " and ".join(f"{found.steps_saved:.0%}".replace("%", " %") for found in audits)
    says(Path("tuning/README.md"), f"it would have ended {ended} trials and saved {saved} of the runs")


def test_how_the_winner_is_named_is_what_the_replay_found() -> None:
    text = (ROOT / RESULTS / "tuning/selection.txt").read_text(encoding="utf-8")
    simulated = re.findall(r"^  (.+?) +(\d+) +0\.\d+ +0\.\d+   (\S+) ± (\S+)$", text, re.MULTILINE)
    found: dict[str, list[tuple[str, str]]] = {}
    for rule, runs, gain, _ in simulated:
        found.setdefault(rule, []).append((runs, gain.replace("-", "−")))
    shown = rows(TUNING, SELECTION)
    assert shown.pop("mean of 3 seeds (the present rule)")[1:] == ["600", "0", "0", "0", "0"]
    for rule, row in shown.items():
        clip, clip_failing, penalty, penalty_failing = found[rule]
        assert row[1:] == [clip[0], clip[1], penalty[1], clip_failing[1], penalty_failing[1]]
    assert max(float(error) for *_, error in simulated) == 0.0004
    held_out = dict.fromkeys(["mean of 2 seeds", "race: 1 seed, best half 2", "ranks of 2 seeds"])
    scores = {rule: re.findall(rf"^  {rule} +(\S+) \(", text, re.MULTILINE) for rule in held_out}
    mean, race, by_ranks = scores.values()
    assert mean == race
    says(TUNING, "({} and {})".format(*mean), "those of ranks score {} and {}".format(*by_ranks))


# ---- Sensitivity ----

SYMBOLS = {"clip_range": "ε", "n_epochs": "K", "gae_lambda": "λ", "vf_coef": "c₁", "ent_coef": "c₂"}


@cache
def sensitivity(environment: str) -> pd.DataFrame:
    return table_of(f"sensitivity/sensitivity-{environment}.csv").set_index(["parameter", "value"])


def compared_with_the_default(environment: str, parameter: str) -> dict[float, tuple[float, Interval]]:
    """Value → difference from the default, and its interval corrected for the number of values."""
    points = sensitivity(environment).loc[parameter]
    returns = {value: [float(x) for x in point["returns"].split()] for value, point in points.iterrows()}
    (default,) = points.index[points["default"]]
    level, found = corrected_level(len(points) - 1), {}
    for value in points.index.drop(default):
        pairs = [(returns[value], returns[default])]
        interval = difference_interval(pairs, level)
        assert interval is not None
        found[value] = (mean_difference(pairs), interval)
    return found


#: The differences that the page names as shown, beside those of ε and K in CartPole and InvertedPendulum.
SHOWN = {
    ("Acrobot-v1", "clip_range", 0.5),
    ("CartPole-v1", "gae_lambda", 0.5),
    ("CartPole-v1", "gae_lambda", 0.995),
    ("Pendulum-v1", "gae_lambda", 0.5),
    ("Pendulum-v1", "gae_lambda", 0.8),
    ("CartPole-v1", "vf_coef", 0.0),
    ("InvertedPendulum-v5", "vf_coef", 0.0),
    ("Pendulum-v1", "vf_coef", 0.0),
}


@pytest.mark.parametrize("environment", ["CartPole-v1", "Acrobot-v1", "InvertedPendulum-v5", "Pendulum-v1"])
@pytest.mark.parametrize("parameter", SYMBOLS)
def test_what_the_sensitivity_study_shows_is_what_the_page_says(environment: str, parameter: str) -> None:
    said = rows(TUNING, "| | what it says, in this budget |")[SYMBOLS[parameter]][1]
    both = parameter in ("clip_range", "n_epochs") and environment in ("CartPole-v1", "InvertedPendulum-v5")
    for value, (found, interval) in compared_with_the_default(environment, parameter).items():
        shown = interval.low > 0 or interval.high < 0
        if not both:
            assert shown == ((environment, parameter, value) in SHOWN)
        text = f"{number(found, 0, '+')} ({between(*interval, 0, '+')})"
        if parameter == "n_epochs" and value not in (5, 20):  # the sweep is on the page without intervals
            continue
        assert (text in said) == shown, (value, text)


@pytest.mark.parametrize("environment", ["CartPole-v1", "Acrobot-v1", "InvertedPendulum-v5", "Pendulum-v1"])
def test_the_sensitivity_tables_are_those_of_the_runs(environment: str) -> None:
    runs = table_of("sensitivity/runs.csv.gz")
    found: dict[str, list[float]] = {}
    for _, run in runs[runs["environment"] == environment].sort_values("seed").iterrows():
        found.setdefault(run["settings"], []).append(run["final_return"])
    for (parameter, value), point in sensitivity(environment).iterrows():
        change = {} if point["default"] else {parameter: int(value) if parameter == "n_epochs" else value}
        assert found[json.dumps(change)] == [float(x) for x in point["returns"].split()]


def test_what_the_sensitivity_study_comes_to() -> None:
    environments = ("CartPole-v1", "Acrobot-v1", "InvertedPendulum-v5", "Pendulum-v1")
    above: dict[str, set[str]] = {parameter: set() for parameter in SYMBOLS}
    acrobot = 0
    for environment in environments:
        assert sensitivity(environment).loc["n_epochs"]["return"].idxmax() == 20
        for parameter in SYMBOLS:
            for value, (_, interval) in compared_with_the_default(environment, parameter).items():
                default = next(d.default for d in DOCUMENTED if d.argument == parameter)
                if interval.low > 0 and value > default:
                    above[parameter].add(environment)
                acrobot += environment == "Acrobot-v1" and (interval.low > 0 or interval.high < 0)
    assert [parameter for parameter, where in above.items() if len(where) == 2] == ["clip_range", "n_epochs"]
    assert all(len(where) < 3 for where in above.values())
    assert acrobot == 1


def test_the_sweep_of_epochs_is_the_measured_one() -> None:
    cartpole = sensitivity("CartPole-v1").loc["n_epochs"]["return"]
    said = rows(TUNING, "| | what it says, in this budget |")["K"][1].replace("*", "")
    assert ", ".join(f"{value:.0f}" for value in cartpole) in said
    assert ", ".join(f"{k:.0f}" for k in cartpole.index) in said
