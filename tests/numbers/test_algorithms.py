"""Documented defaults, and what studies of the algorithms' settings gave."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.stats.aggregates import difference_of_means
from sb3_ppo_variants.experiments.stats.estimators import difference_interval, improvement, improvement_p
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from tests.numbers.reading import (
    ALGORITHMS,
    README,
    RESULTS,
    between,
    cell,
    committed,
    difference,
    number,
    rows,
    says,
    table_of,
)
from tests.pages import ROOT, prose


def test_the_documented_defaults_are_in_the_table() -> None:
    text = prose(README)
    for documented in DOCUMENTED:
        assert f"| {documented.symbol} | `{documented.argument}` | {documented.default} |" in text


def scores(results: Results, variant: str, environment: str) -> np.ndarray:
    return np.array(results.scores(variant, environment))


@pytest.mark.parametrize("algorithm", ["clip_ppo", "kl_penalty_ppo"])
def test_betas_where_the_best_actions_lie_at_the_bounds(algorithm: str) -> None:
    results = committed("beta/corners")[0]
    environment = "sb3_ppo_variants/Corners-v0"
    normal, beta = (scores(results, f"{kind}_{algorithm}", environment) for kind in ("gaussian", "beta"))
    assert len(normal) == len(beta) == 10
    expected = [f"`{algorithm}`", cell(normal, 1), cell(beta, 1), difference(beta, normal, 1, 2)]
    table = rows(ALGORITHMS, "| `Corners-v0` | clipped normals | Betas | Betas − normals |")
    assert table[f"`{algorithm}`"] == expected


@pytest.mark.parametrize("environment", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"])
def test_betas_on_mujoco(environment: str) -> None:
    results = committed("beta/mujoco")[0]
    normal, beta = (scores(results, f"{kind}_clip_ppo", environment) for kind in ("gaussian", "beta"))
    assert len(normal) == len(beta) == 5
    expected = [f"`{environment}`", cell(normal, 0), cell(beta, 0), difference(beta, normal, 0, 3)]
    assert (
        rows(ALGORITHMS, "| environment | clipped normals | Betas | Betas − normals |")[f"`{environment}`"] == expected
    )


def test_how_betas_begin() -> None:
    curves = table_of("beta/mujoco/curves.csv")
    first = curves[(curves["environment"] == "HalfCheetah-v5") & (curves["timesteps"] == 2048)]
    beta, normal = (first[first["row"] == f"{kind}_clip_ppo"]["mean_return"] for kind in ("beta", "gaussian"))
    assert len(beta) == len(normal) == 5
    says(
        ALGORITHMS, f"their mean return is {number(beta.mean(), 0)}, that of clipped normals {number(normal.mean(), 0)}"
    )
    # Of a network whose outputs are 0: α = β = 1 + ln 2, on [−1, 1].
    alpha = 1 + np.log(2)
    beta_variance = 1 / (2 * alpha + 1)
    normal_variance = 1 - 2 * stats.norm.pdf(1)  # E[clip(z, −1, 1)²] = E[z²; |z| < 1] + P(|z| > 1)
    charged = 0.1 * 6 * 1000 * (normal_variance - beta_variance)
    says(
        ALGORITHMS,
        f"a standard deviation of {beta_variance**0.5:.2f}, where a clipped normal's is {normal_variance**0.5:.2f}",
        f"0.1 times their squares, which costs the normals about {charged:.0f} more in an episode",
    )


# ---- Learning rates ----

RATES = "learning_rate/confirm"
CHOSEN = {"rate_3e-3": "fixed 3e-3", "rate_kl_0.01": "`kl_0.01`", "rate_3e-4": "fixed 3e-4"}


def score_difference(results: Results, variant: str, other: str, without: str | None = None) -> str:
    """In mean score over the environments but one; all differences together at 95 %."""
    each = zip(results.environments, results.samples(variant), results.samples(other), strict=True)
    pairs = [(ours, others) for environment, ours, others in each if environment != without]
    found = difference_of_means(pairs, corrected_level(len(CHOSEN)))
    assert found.interval is not None
    return f"{number(found.value, 2, '+')} ({between(*found.interval, 2, '+')})"


def test_a_rate_that_follows_the_kl_is_compared_with_fixed_ones() -> None:
    results = committed(RATES)[0]
    assert len(results.environments) == 5
    table = rows(ALGORITHMS, f"| environment | {' | '.join(CHOSEN.values())} | 3e-3 − 3e-4 | `kl_0.01` − 3e-4 |")
    for environment in results.environments:
        samples = [scores(results, variant, environment) for variant in CHOSEN]
        assert {len(sample) for sample in samples} == {10}
        digits = 0 if environment in ("Pendulum-v1", "HalfCheetah-v5") else 1
        differences = [difference(sample, samples[-1], digits, 10) for sample in samples[:-1]]
        assert table[environment] == [environment, *(cell(sample, digits) for sample in samples), *differences]
    better = [e for e, row in table.items() if "(+" in row[4]]
    assert better == ["Pendulum-v1", "InvertedPendulum-v5"]
    assert [e for e, row in table.items() if "(+" in row[5] or row[5].count("−") == 3] == better
    compared = [("rate_kl_0.01", "rate_3e-3"), ("rate_kl_0.01", "rate_3e-4"), ("rate_3e-4", "rate_3e-3")]
    found = [score_difference(results, *pair) for pair in compared]
    says(
        ALGORITHMS,
        "`kl_0.01` differs from the best fixed rate by {} and from the default rate by {}; the default differs from "
        "the best by {}".format(*found),
    )
    poles = [scores(results, variant, "CartPole-v1") for variant in ("rate_3e-3", "rate_3e-4")]
    assert improvement(*poles) > 0.5
    says(ALGORITHMS, f"better on CartPole too (exact p {10 * improvement_p([(poles[0], poles[1])]):.3f}, corrected")
    lag = score_difference(results, "rate_3e-4", "rate_3e-3", "Pendulum-v1")
    says(ALGORITHMS, f"the default's lag behind 3e-3 is Pendulum's, {lag} without it")
    hangs_on = [e for e in results.environments if "to +" in score_difference(results, *compared[0], e)]
    assert hangs_on == ["CartPole-v1", "Pendulum-v1", "InvertedPendulum-v5"]
    # On HalfCheetah the rate never moved.
    cheetah = table_of(f"{RATES}/runs.csv").query("environment == 'HalfCheetah-v5'").set_index(["row", "seed"])
    assert cheetah["final_return"]["rate_kl_0.01"].equals(cheetah["final_return"]["rate_3e-4"])
    assert set(cheetah["episodes"]) == {51}


def test_the_rates_were_chosen_by_their_mean_score() -> None:
    results = committed("learning_rate")[0]
    means = {name: np.mean([np.mean(sample) for sample in results.samples(name)]) for name in results.variants}
    for prefix, chosen in (("rate_kl", "rate_kl_0.01"), ("rate_", "rate_3e-3")):
        assert max((n for n in means if n.startswith(prefix)), key=means.__getitem__) == chosen


# ---- A reference policy ----


def test_what_a_reference_costs() -> None:
    text = (ROOT / RESULTS / "reference/cost.txt").read_text()
    found = [tuple(map(int, ends)) for ends in re.findall(r"([+-]\d+)% \(([+-]\d+)% to ([+-]\d+)%\)", text)]
    assert len(found) == 4
    medians, lows, highs = zip(*found, strict=True)
    says(
        Path("sb3_ppo_variants/REFERENCE_POLICY.md"),
        f"took {min(medians)} to {max(medians)} % longer (medians of 60 rounds",
        f"quartiles {number(min(lows), 0)} to {max(highs)} %)",
    )


def test_what_is_said_of_fine_tuning() -> None:
    page, runs = Path("sb3_ppo_variants/REFERENCE_POLICY.md"), table_of("reference/runs.csv")
    poles = runs[runs["environment"] == "CartPole-v1"]
    neither, others = poles[poles["variant"] == "neither"], poles[poles["variant"] != "neither"]
    low = neither[neither["final"] < 450]
    assert [f"{final:.0f}" for final in low["final"]] == ["440", "440"]
    assert min(others["final"]) > 489
    fall = f"{low['lowest'].min():.0f} in the first 50,000 steps"
    says(page, f"two of five end at 440, one of them after a fall to {fall}")
    pendulum = runs[runs["environment"] == "Pendulum-v1"]
    warm, cold = (pendulum[pendulum["variant"] == name]["lowest"].to_numpy() for name in ("warm-up", "neither"))
    kept = pendulum[pendulum["variant"] == "reference"]["lowest"].to_numpy()
    says(page, f"With the reference it falls less ({in_brackets(kept, cold, 3)}), and")
    says(page, f"with the warm-up ({in_brackets(warm, cold, 3)})")
    nine = [between(*difference_interval([(ours, cold)], corrected_level(9)), 0, "+") for ours in (kept, warm)]
    says(page, "Corrected for the three environments too, neither is shown: {} and {}".format(*nine))
    assert list(pendulum["seed"][pendulum["variant"] == "neither"]) == list(
        pendulum["seed"][pendulum["variant"] == "reference"]
    )
    paired = [stats.ttest_1samp(ours - cold, 0).confidence_interval(corrected_level(3)) for ours in (kept, warm)]
    says(
        page,
        "the means differ by {} ({}) and {} ({})".format(
            *(
                text
                for ours, interval in zip((kept, warm), paired, strict=True)
                for text in (number((ours - cold).mean(), 0, "+"), between(*interval, 0, "+"))
            )
        ),
    )
    hopper = runs[runs["environment"] == "Hopper-v5"]
    finals = {name: own["final"].to_numpy() for name, own in hopper.groupby("variant")}
    above = [difference(finals[name], finals["warm-up"], 0, 18) for name in ("reference", "both")]
    assert min(finals["reference"].min(), finals["both"].min()) > finals["warm-up"].max()
    p = improvement_p([(finals["both"], finals["warm-up"])])
    says(page, "{} and {}; ".format(*above) + f"by ranks p is {p:.3f} for each, {18 * p:.2f} corrected")


def in_brackets(ours: np.ndarray, others: np.ndarray, comparisons: int) -> str:
    return difference(ours, others, 0, comparisons).replace(" (", ", ").rstrip(")")
