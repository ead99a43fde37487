"""The PPO paper's Table 1."""

import json
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from sb3_ppo_variants.experiments.stats.estimators import difference_interval, improvement_interval, mean_improvement
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.numbers.reading import (
    ALGORITHMS,
    COMPARE,
    README,
    RESULTS,
    bare,
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
    "| row | published | measured | 95 % | random policy 0, reference 1 | rank published | rank measured | 95 % | "
    "P(first) |"
)
DIFFERENCES = "| row | difference from ε 0.2 | 99.5 % | random policy 0, reference 1 | 99.5 % |"
BUDGETS = "| row | after 300,000 steps | difference from ε 0.2 | 99.5 % | gain | difference from ε 0.2 | 99.5 % |"
RETURNS = "| row | HalfCheetah | Hopper | InvertedDoublePendulum | InvertedPendulum | Reacher | Swimmer | Walker2d |"
#: The rows on the page, in order, and their names in sentences.
TABLE1_ROWS = {
    "no_clipping": ("no clipping or penalty", "no restraint"),
    "clip_0.1": ("clipping, ε 0.1", "ε 0.1"),
    "clip_0.2": ("clipping, ε 0.2", "ε 0.2"),
    "clip_0.3": ("clipping, ε 0.3", "ε 0.3"),
    "adaptive_kl_0.003": ("adaptive KL, target 0.003", "target 0.003"),
    "adaptive_kl_0.01": ("adaptive KL, target 0.01", "target 0.01"),
    "adaptive_kl_0.03": ("adaptive KL, target 0.03", "target 0.03"),
    "fixed_kl_0.3": ("fixed KL, β 0.3", "β 0.3"),
    "fixed_kl_1": ("fixed KL, β 1", "β 1"),
    "fixed_kl_3": ("fixed KL, β 3", "β 3"),
    "fixed_kl_10": ("fixed KL, β 10", "β 10"),
}
LABELS = {name: label for name, (label, _) in TABLE1_ROWS.items()}
OTHERS = [name for name in TABLE1_ROWS if name != "clip_0.2"]
LEVEL = corrected_level(len(OTHERS))
KEY = ["row", "environment", "seed"]
END, EARLY = "final_return", "after 300,000 steps"
#: What counts as 1 on a scale: an environment and its returns → a return.
One = Callable[[str, pd.Series], float]


@cache
def table1_returns() -> pd.DataFrame:
    """One line a run, with its return after a million steps and after 300,000: the mean that its curve has after as
    many rollouts as a run of 300,000 steps has."""
    runs, curves = table_of("table1/runs.csv.gz"), table_of("table1/curves.csv.gz")
    assert set(runs["timesteps"]) == {1_000_000}
    assert set(runs["row"]) == set(TABLE1_ROWS)
    assert not runs.duplicated(KEY).any()
    assert (len(runs), runs["environment"].nunique(), set(runs["seed"])) == (len(TABLE1_ROWS) * 7 * 3, 7, {0, 1, 2})
    then = curves[curves["timesteps"] == 147 * 2048].set_index(KEY)["mean_return"]
    return runs.join(then.rename(EARLY), on=KEY, validate="1:1")


def best_run(environment: str, returns: pd.Series) -> float:
    return float(returns.max())


def shipped_reference(environment: str, returns: pd.Series) -> float:
    return float(references()[environment]["reference"])


def table1_scores(one: One, budget: str = END, runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Scores of all runs, one column a row of Table 1, one line an environment and seed; uniform actions are 0.

    :param one: The return that is 1
    :param budget: After which the returns are
    :param runs: By default all runs
    """
    runs = table1_returns() if runs is None else runs
    ends = {}
    for environment, returns in runs.groupby("environment")[END]:
        zero = references()[environment]["random"]
        ends[environment] = (zero, one(environment, returns) - zero)
    scores = [(v - ends[e][0]) / ends[e][1] for e, v in zip(runs["environment"], runs[budget], strict=True)]
    return runs.assign(score=scores).pivot(index=["environment", "seed"], columns="row", values="score")


def score_difference(scores: pd.DataFrame, name: str, comparisons: int = len(OTHERS)) -> tuple[float, float, float]:
    """A row's mean score over environments minus that of ε 0.2, with the ends of Welch's t interval (Satterthwaite's
    degrees of freedom over all cells), corrected by Bonferroni."""
    cells = scores[[name, "clip_0.2"]].groupby("environment")
    n_environments, n_seeds = len(cells), int(cells.size().iloc[0])
    means = cells.mean().mean()
    variances = (cells.var() / n_seeds / n_environments**2).to_numpy().ravel()
    freedom = variances.sum() ** 2 / (variances**2 / (n_seeds - 1)).sum()
    half = stats.t.ppf(1 - 0.05 / comparisons / 2, freedom) * np.sqrt(variances.sum())
    found = means[name] - means["clip_0.2"]
    return found, found - half, found + half


def written(found: float, low: float, high: float) -> list[str]:
    """A difference and its interval; an end that two digits would make a zero shows on which side it lies."""
    ends = (f"{end:+.2f}" if round(end, 2) else f"{end:+#.1g}" for end in (low, high))
    return [number(round(found, 2) + 0, 2, "+"), " to ".join(ends).replace("-", "−")]


def score(text: str | float) -> str:
    return number(round(float(text), 2) + 0, 2)


def worse(scores: pd.DataFrame) -> list[str]:
    """The rows that are shown to be worse than ε 0.2; none is shown to be better."""
    differences = {name: score_difference(scores, name) for name in OTHERS}
    assert all(low < 0 for _, low, _ in differences.values())
    return [name for name, (_, _, high) in differences.items() if high < 0]


def named(names: Iterable[str]) -> str:
    *first, last = (TABLE1_ROWS[name][1] for name in names)
    return f"{', '.join(first)} and {last}"


def by_name(table: list[list[str]]) -> dict[str, list[str]]:
    """Rows by their name, without the mark of runs of two processors."""
    return {row[0].removesuffix(" †"): row for row in table if not row[0].startswith("-")}


PUBLISHED = (
    "| row | published | measured | 95 % | measured (random policy 0, reference 1) | rank published | rank measured | "
    "95 % | P(first) | runs |"
)
SCORES, SB3_SCORES = (
    f"| row | mean | 95 % | difference from clip_0.2 | {level} % | rank | 95 % | P(first) | IQM | 95 % | median | "
    "optimality gap | P(better than clip_0.2) | 95 % | p | runs |"
    for level in ("99.5", "97.5")
)
ENVIRONMENT = (
    "| row | final return | 95 % | covers | by steps | difference from clip_0.2 | 99.5 % | P(better than clip_0.2) | "
    "95 % | p | steps/s | n |"
)


def test_table1_is_the_measured_one() -> None:
    measured = RESULTS / "table1/table.md"
    (published,) = map(by_name, tables(measured, PUBLISHED))
    scores, shipped = map(by_name, tables(measured, SCORES))
    means = table1_scores(best_run).mean()
    shown = rows(COMPARE, TABLE1)
    assert list(shown) == list(LABELS.values())
    for name, label in LABELS.items():
        _, theirs, _, _, _, *ranks, _ = published[name]
        expected = [score(theirs), score(scores[name][1]), bare(scores[name][2]), score(shipped[name][1]), *ranks]
        assert expected[1] == score(means[name])
        bold = [name == "clip_0.2", name == means.idxmax()]
        expected[:2] = [f"**{cell}**" if best else cell for cell, best in zip(expected[:2], bold, strict=True)]
        assert shown[label][1:] == expected
    assert (means.idxmax(), means.idxmin()) == ("clip_0.2", "no_clipping")
    resamples = f"{float(published['clip_0.2'][8]):.0%} of resamples".replace("%", " %")
    second = f"{float(published['clip_0.1'][8]):.0%}".replace("%", " %")
    says(COMPARE, f"ε 0.2 is first in {resamples} and ε 0.1 in {second}")
    says(README, f"(it is in {resamples}, ε 0.1 in the others)")
    assert float(published["clip_0.2"][8]) + float(published["clip_0.1"][8]) == 1
    says(
        ALGORITHMS,
        f"ε 0.2 has the highest mean there ({scores['clip_0.2'][1]}; it is first in {resamples})",
        f"target 0.01 has {score(means['adaptive_kl_0.01'])}, and no restraint {score(means['no_clipping'])}",
    )


def test_how_much_hangs_on_the_best_run_on_halfcheetah() -> None:
    runs = table1_returns()
    there = runs[runs["environment"] == "HalfCheetah-v5"]
    best = there.loc[there[END].idxmax()]
    assert (best["row"], best["seed"]) == ("clip_0.2", 1)
    clip = [f"{value:.0f}" for value in there[there["row"] == "clip_0.2"].sort_values("seed")[END]]
    means = table1_scores(best_run, runs=runs.drop(best.name)).groupby("environment").mean().mean()
    says(
        COMPARE,
        f"On HalfCheetah ε 0.2 ends at {clip[0]}, {clip[1]} and {clip[2]}; without the second of these runs, at which "
        f"the scale ends there, it scores {score(means['clip_0.2'])} and ε 0.1 {score(means['clip_0.1'])}",
    )


def test_differences_from_clipping_are_those_of_the_runs() -> None:
    on_the_papers, on_ours = table1_scores(best_run), table1_scores(shipped_reference)
    shown = rows(COMPARE, DIFFERENCES)
    assert list(shown) == [LABELS[name] for name in OTHERS]
    texts = {name: written(*score_difference(on_the_papers, name)) for name in OTHERS}
    for name, text in texts.items():
        assert shown[LABELS[name]][1:] == [*text, *written(*score_difference(on_ours, name))]
    assert worse(on_the_papers) == ["no_clipping", "adaptive_kl_0.03", "fixed_kl_0.3", "fixed_kl_10"]
    assert worse(on_ours) == ["no_clipping", "fixed_kl_0.3", "fixed_kl_10"]
    says(
        COMPARE,
        f"On the paper's scale {named(worse(on_the_papers))} are shown to be worse than ε 0.2, target 0.03 narrowly",
        f"On the shipped scale {named(worse(on_ours))} are shown to be worse",
    )
    open_ones = [score_difference(on_the_papers, name) for name in OTHERS if name not in worse(on_the_papers)]
    assert len(open_ones) == 6
    assert {f"{(high - low) / 2:.2f}" for _, low, high in open_ones} == {"0.17", "0.18"}
    scores = by_name(tables(RESULTS / "table1/table.md", SCORES)[0])
    ends = {name: f"{score(scores[name][1])}, {bare(scores[name][2])}" for name in ("clip_0.2", "no_clipping")}
    none, none_interval = texts["no_clipping"]
    says(
        README,
        f"highest mean score ({ends['clip_0.2']}) and the row without clipping or penalty the lowest "
        f"({ends['no_clipping']})",
        f"The difference is {none} (95 % interval, corrected for ten comparisons: {none_interval})",
        *(f"{TABLE1_ROWS[name][1]} ({', '.join(texts[name])})" for name in worse(on_the_papers)[1:]),
    )


def test_what_ranks_show() -> None:
    results, _ = committed("table1")
    texts, shown = {}, []
    for name in OTHERS:
        pairs = [(results.scores(name, e), results.scores("clip_0.2", e)) for e in results.environments]
        interval = improvement_interval(pairs, LEVEL)
        assert interval is not None
        assert interval.low < 0.5
        texts[name] = f"{mean_improvement(pairs):.2f}, 99.5 %: {interval.low:.2f} to {interval.high:.2f}"
        shown += [name] if interval.high < 0.5 else []
    assert shown == ["no_clipping", "adaptive_kl_0.03", "fixed_kl_0.3", "fixed_kl_10"]
    says(COMPARE, *(f"{TABLE1_ROWS[name][1]} ({texts[name]})" for name in ("adaptive_kl_0.03", "fixed_kl_10")))


def test_what_is_shown_within_one_environment() -> None:
    runs = table1_returns()
    samples = {key: group[END].to_numpy() for key, group in runs.groupby(["environment", "row"])}
    shown = {}
    for (environment, name), ours in samples.items():
        pair = [(ours, samples[environment, "clip_0.2"])]
        each = [difference_interval(pair, corrected_level(n)) for n in (len(OTHERS), len(OTHERS) * 7)]
        if name != "clip_0.2" and None not in each:
            excluded = [not low < 0 < high for low, high in each]
            shown |= {(environment, name): excluded[1]} if excluded[0] else {}
    assert shown == {("InvertedDoublePendulum-v5", "no_clipping"): True}
    ours, clip = (samples["InvertedDoublePendulum-v5", name] for name in ("no_clipping", "clip_0.2"))
    found = difference(ours, clip, 0, 70).replace("(", f"({100 * corrected_level(70):.2f} %: ")
    says(COMPARE, f"no restraint on InvertedDoublePendulum, {found}")


def test_what_the_budget_changes() -> None:
    early = table1_scores(best_run, EARLY)
    gains = table1_scores(best_run) - early
    shown = rows(COMPARE, BUDGETS)
    assert list(shown) == list(LABELS.values())
    for name, label in LABELS.items():
        none = ["–", "–"]
        differences = [none if name == "clip_0.2" else written(*score_difference(s, name)) for s in (early, gains)]
        assert shown[label][1:] == [
            *(score(early[name].mean()), *differences[0]),
            *(written(gains[name].mean(), 0, 0)[0], *differences[1]),
        ]
    assert worse(early) == ["no_clipping", "fixed_kl_10"]
    says(COMPARE, f"After 300,000 steps {named(worse(early))} are shown to be worse than ε 0.2")
    more = {name: score_difference(gains, name) for name in OTHERS}
    assert [name for name, (_, _, high) in more.items() if high < 0] == ["no_clipping"]
    assert [name for name, (_, low, _) in more.items() if low > 0] == ["fixed_kl_10"]


def test_returns_after_both_budgets() -> None:
    shown = rows(COMPARE, RETURNS)
    means = table1_returns().groupby(["row", "environment"])[[EARLY, END]].mean()
    for name, label in LABELS.items():
        digits = [1 if environment == "Reacher-v5" else 0 for environment in means.loc[name].index]
        pairs = zip(digits, means.loc[name].to_numpy(), strict=True)
        assert shown[label][1:] == [f"{number(then, d)} → {number(after, d)}" for d, (then, after) in pairs]
    assert list(shown) == list(LABELS.values())
    runs = table1_returns()
    target = runs[(runs["environment"] == "HalfCheetah-v5") & (runs["row"] == "adaptive_kl_0.03")].sort_values("seed")
    ends = [f"{value:.0f}" for value in target[END]]
    says(COMPARE, f"target 0.03 ends at {ends[0]}, {ends[1]} and {ends[2]}")


def test_the_rows_of_an_environment_and_seed_are_of_one_processor() -> None:
    runs = table_of("table1/runs.csv.gz")
    kinds = runs["versions"].map(lambda text: (json.loads(text)["processor"], json.loads(text)["BLAS"]))
    assert (kinds.groupby([runs["environment"], runs["seed"]]).nunique() == 1).all()
    assert {processor for processor, _ in kinds} == {"AMD EPYC"}
    assert kinds.nunique() == 2


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
    theirs = {name: float(row[1]) for name, row in by_name(tables(RESULTS / "table1/table.md", PUBLISHED)[0]).items()}
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
    environments = sorted(table1_returns()["environment"].unique())
    found = tables(RESULTS / "table1/table.md", ENVIRONMENT)
    by_environment = {
        environment: {(row[3], row[4].partition("(")[2].rstrip(")")) for row in by_name(table).values()}
        for environment, table in zip(environments, found, strict=True)
    }
    assert by_environment["HalfCheetah-v5"] == {("10 %", "20 %")}
    assert by_environment["Reacher-v5"] == {("0.5 %", "10 %")}
    says(COMPARE, "10 % on HalfCheetah, 0.5 % on Reacher")
    says(COMPARE, "covers 20 % and 10 %")
