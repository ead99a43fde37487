"""The PPO paper's Table 1."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from sb3_ppo_variants.experiments.stats.estimators import (
    difference_interval,
    improvement_interval,
    mean_improvement,
)
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.numbers.reading import (
    ALGORITHMS,
    COMPARE,
    README,
    RESULTS,
    bare,
    between,
    by_ranks,
    committed,
    difference,
    number,
    references,
    rows,
    says,
    table_of,
)
from tests.pages import tables

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
    says(README, f"(it is in {float(published['clip_0.2'][8]):.0%} of resamples)".replace("%", " %"))
    says(
        ALGORITHMS,
        f"ε 0.2 has the highest mean there ({scores['clip_0.2'][1]}; it is first in ",
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


def best_run(environment: str, returns: pd.Series) -> float:
    return float(returns.max())


def second_best_on_halfcheetah(environment: str, returns: pd.Series) -> float:
    return float(returns.nlargest(2).iloc[-1] if environment == "HalfCheetah-v5" else returns.max())


def test_the_papers_scale_hangs_on_single_runs() -> None:
    runs = table_of("table1/runs.csv.gz")
    rest = runs[~runs["row"].isin(OF_ANOTHER_PAPER)]
    best, second = rest[rest["environment"] == "HalfCheetah-v5"]["final_return"].nlargest(2)
    score = table1_scores(second_best_on_halfcheetah)["clip_0.2"].mean()
    says(COMPARE, f"on HalfCheetah, {best:.0f}, its scale ends at {second:.0f}, and ε 0.2 scores {score:.2f}")
    trpo = runs[runs["row"] == "trpo"].groupby("environment")["final_return"].max()
    assert (trpo > rest.groupby("environment")["final_return"].max()).sum() == 3
    says(COMPARE, "TRPO has better ones in three environments")


def shipped_reference(environment: str, returns: pd.Series) -> float:
    return float(references()[environment]["reference"])


def score_difference(scores: pd.DataFrame, name: str, comparisons: int) -> tuple[float, tuple[float, float]]:
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
        found, interval = score_difference(on_the_papers, name, len(others))
        ours, its = score_difference(on_ours, name, len(others))
        ours = round(ours, 2) + 0  # no minus before a zero
        expected = [number(found, 2, "+"), between(*interval, 2, "+"), number(ours, 2, "+"), between(*its, 2, "+")]
        assert shown[TABLE1_ROWS[name]][1:] == expected
        worse += [name] if interval[1] < 0 else []
    assert worse == ["no_clipping", "adaptive_kl_0.003", "fixed_kl_3", "fixed_kl_10"]
    said = {name: score_difference(on_ours, name, len(others)) for name in others}
    assert [name for name in others if said[name][1][1] < 0] == ["no_clipping", "fixed_kl_10"]
    results, _ = committed("table1")
    ranks = {name: by_ranks(results, name, len(others)) for name in others}
    below = [name for name, text in ranks.items() if float(text.rstrip(")").split(" to ")[1]) < 0.5]
    assert below == ["no_clipping", "adaptive_kl_0.003", "fixed_kl_10"]
    target, beta = (ranks[name].rstrip(")").split(" (") for name in ("adaptive_kl_0.003", "fixed_kl_3"))
    says(COMPARE, "probability {}, 99.6 %: {}); β 3".format(*target), "not shown to be ({}, {})".format(*beta))
    says(COMPARE, f"{on_ours['clip_0.3'].mean():.3f} against {on_ours['clip_0.2'].mean():.3f}")
    scores = by_name(tables(RESULTS / "table1/table.md", SCORES)[0])
    ends = {name: f"{scores[name][1]}, {bare(scores[name][2])}" for name in ("clip_0.2", "no_clipping")}
    gaps = [score_difference(on_the_papers, name, len(others)) for name in ("no_clipping", "fixed_kl_10")]
    (none, its_interval), (strongest, its_own) = [(number(found, 2), between(*interval, 2)) for found, interval in gaps]
    says(
        README,
        f"highest mean score ({ends['clip_0.2']}) and the row without clipping or penalty the lowest "
        f"({ends['no_clipping']})",
        f"ε 0.3 leads ({on_ours['clip_0.3'].mean():.3f} against {on_ours['clip_0.2'].mean():.3f})",
        f"The difference is {none} (95 % interval, corrected for twelve comparisons: {its_interval})",
        f"({strongest}, {its_own})",
    )


#: The environments in which all three seeds have been trained for a million steps.
AFTER_A_MILLION = ("HalfCheetah-v5", "Hopper-v5", "InvertedPendulum-v5", "Walker2d-v5")


def million_steps(environment: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Final returns after 300,000 and after a million steps of the same runs: one line a row, one column a seed."""
    folders = [f"table1/million/slices/{environment}-seed{seed}" for seed in range(3)]
    runs, curves = (pd.concat(table_of(f"{f}/{name}.csv.gz") for f in folders) for name in ("runs", "curves"))
    assert set(runs["timesteps"]) == {1_000_000}
    # As many rollouts as a run of 300,000 steps has; its score is the mean that the curve then has.
    then = curves[curves["timesteps"] == 147 * 2048].pivot(index="row", columns="seed", values="mean_return")
    return then, runs.pivot(index="row", columns="seed", values="final_return")


def test_the_million_steps_are_the_measured_ones() -> None:
    names = [environment.removesuffix("-v5") for environment in AFTER_A_MILLION]
    means = rows(COMPARE, f"| row | {' | '.join(f'{name}: 300,000 | 1,000,000' for name in names)} |")
    differences = rows(COMPARE, f"| row after a million steps | {' | '.join(names)} |")
    found = [million_steps(environment) for environment in AFTER_A_MILLION]
    paper = [name for name in TABLE1_ROWS if name not in OF_ANOTHER_PAPER]
    assert list(means) == [TABLE1_ROWS[name] for name in paper]
    for name in paper:
        expected = [number(returns.loc[name].mean(), 0) for both in found for returns in both]
        assert means[TABLE1_ROWS[name]][1:] == expected
        if name != "clip_0.2":
            pairs = [(after.loc[name].to_numpy(), after.loc["clip_0.2"].to_numpy()) for _, after in found]
            assert differences[TABLE1_ROWS[name]][1:] == [difference(*pair, 0, len(paper) - 1) for pair in pairs]
    worse = {}
    for name in set(paper) - {"clip_0.2"}:
        pairs = [(after.loc[name].to_numpy(), after.loc["clip_0.2"].to_numpy()) for _, after in found]
        assert all(low < 0 < high for low, high in (difference_interval([p], corrected_level(10)) for p in pairs))
        low, high = improvement_interval(pairs, corrected_level(10))
        assert low < 0.5
        if high < 0.5:
            worse[name] = f"{mean_improvement(pairs):.2f}", f"{low:.2f} to {high:.2f})"
    assert worse.keys() == {"no_clipping", "adaptive_kl_0.03", "fixed_kl_0.3"}
    assert worse["adaptive_kl_0.03"] == worse["fixed_kl_0.3"]
    says(
        COMPARE,
        "with probability {} (99.5 %: {}, and".format(*worse["no_clipping"]),
        "with target 0.03 or with β 0.3 with {} ({}.".format(*worse["fixed_kl_0.3"]),
    )
    then, after = found[0]
    strong = ["adaptive_kl_0.003", "fixed_kl_3", "fixed_kl_10"]
    ends = [between(part.loc[strong].min().min(), part.loc[strong].max().max(), 0) for part in (then, after)]
    clip, target = ([f"{value:.0f}" for value in after.loc[name]] for name in ("clip_0.2", "adaptive_kl_0.03"))
    says(
        COMPARE,
        f"β 3 and β 10 are at {ends[0]} after 300,000 steps and at {ends[1]} after a million",
        f"ε 0.2 ends at {clip[0]}, {clip[1]} and {clip[2]}, target 0.03 at {target[0]}, {target[1]} and {target[2]}",
        f"Without restraint, returns stay below {np.ceil(after.loc['no_clipping'].max()):.0f} on HalfCheetah",
    )
    earlier = table_of("table1/million/runs.csv.gz")
    before = earlier[earlier["environment"] == "HalfCheetah-v5"].set_index("row")["final_return"]
    beta_3, beta_10 = (f"{before[n]:.0f} instead of {after.loc[n, 0]:.0f}" for n in ("fixed_kl_3", "fixed_kl_10"))
    says(COMPARE, f"β 3 then ended at {beta_3}, and β 10 at {beta_10}")


def test_rank_correlations_and_the_other_reading() -> None:
    header = "| scale | Spearman's ρ | 95 % of resamples | ρ with one row left out | Kendall's τ | 95 % of resamples |"
    agreement = [row[1:4] for row in rows(RESULTS / "table1/table.md", header).values()]
    value, interval, left_out = agreement[0]
    lowest, highest = left_out.split(" (without no_clipping) to ")
    values = sorted(float(row[0]) for row in agreement)
    says(
        COMPARE,
        f"ρ is {value} (95 % of resamples: {bare(interval)})",
        f"{values[0]:.2f} to {values[-1]:.2f} in the four readings",
        f"ρ is {lowest} (without the row without clipping or penalty) to {highest}",
    )
    theirs = {
        name: float(row[1].replace("−", "-")) for name, row in rows(RESULTS / "table1/table.md", PUBLISHED).items()
    }
    kept = [name for name in theirs if name not in ("no_clipping", "clip_0.2")]
    ours = table1_scores(best_run).mean()[kept]
    rho = stats.spearmanr(ours, [theirs[name] for name in kept]).statistic
    says(COMPARE, f"without that row and ε 0.2 it is {rho:.2f}")
    scores = by_name(tables(RESULTS / "table1/sb3_reading/table.md", SB3_SCORES)[0])
    texts = [f"{row[1]} ({bare(row[2])})" for row in scores.values()]
    says(COMPARE, f"score {texts[0]}, {texts[1]} and {texts[2]}")
    low, high = (f"+{row[3]}, {bare(row[4], '+')}" for name, row in scores.items() if name != "clip_0.2")
    says(COMPARE, f"({low}; {high})")


def test_the_shares_that_scores_cover_are_the_measured_ones() -> None:
    environments = sorted(table_of("table1/runs.csv.gz")["environment"].unique())
    found = tables(RESULTS / "table1/table.md", ENVIRONMENT)
    by_environment = {
        environment: {(row[3], row[4].partition("(")[2].rstrip(")")) for row in by_name(table).values()}
        for environment, table in zip(environments, found, strict=True)
    }
    assert by_environment["HalfCheetah-v5"] == {("33 %", "43 %")}
    assert by_environment["Reacher-v5"] == {("2 %", "11 %")}
    says(COMPARE, "33 % on HalfCheetah, 2 % on Reacher. The score by steps beside them covers 43 % and 11 %")
