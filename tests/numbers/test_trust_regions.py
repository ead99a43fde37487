"""The comparison of trust regions, as far as it has been run."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from sb3_ppo_variants.experiments.stats.references import reference_pairs
from tests.numbers.reading import (
    ALGORITHMS,
    COMPARE,
    RESULTS,
    bare,
    between,
    by_ranks,
    committed,
    number,
    rows,
    says,
    table_of,
)
from tests.numbers.test_table1 import EARLY, KEY, table1_returns
from tests.pages import ROOT, tables

FOLDER = "trust_regions"
#: The rows on the page, in order.
LABELS = {
    "clip_0.2": "clipping, ε 0.2",
    "no_clipping": "no restraint",
    "adaptive_kl_0.01": "adaptive KL, target 0.01",
    "fixed_kl_1": "fixed KL, β 1",
    "trpo": "TRPO",
    "soft_clip_0.2": "soft clip, δ 0.2",
    "rollback_0.3": "`RollbackPPO`, α 0.3",
    "spo": "`SPO`",
    "discovered": "`DiscoveredPPO`",
    "scopic": "`ScopicPPO`",
}
#: Page of an algorithm → its row.
PAGES = {"spo": "spo", "rollback_ppo": "rollback_0.3", "discovered_ppo": "discovered", "scopic_ppo": "scopic"}
ENVIRONMENTS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5")
PAGE = "| row | score | 95 % | difference from ε 0.2 | 99.4 % | HalfCheetah | Hopper | Walker2d | Ant | Humanoid |"
SCORES = (
    "| row | mean | 95 % | difference from clip_0.2 | 99.4 % | rank | 95 % | P(first) | IQM | 95 % | median | "
    "optimality gap | P(better than clip_0.2) | 95 % | p | runs |"
)
ENVIRONMENT = (
    "| row | final return | 95 % | covers | by steps | difference from clip_0.2 | 99.4 % | P(better than clip_0.2) | "
    "95 % | p | steps/s | n |"
)


def returns(environment: str) -> dict[str, np.ndarray]:
    runs = table_of(f"{FOLDER}/runs.csv.gz")
    chosen = runs[runs["environment"] == environment]
    return {str(name): np.array(found) for name, found in chosen.groupby("row")["final_return"]}


def measured_scores() -> dict[str, list[str]]:
    # A dagger marks rows whose runs were made with several versions.
    return {name.removesuffix(" †"): row for name, row in rows(RESULTS / FOLDER / "table.md", SCORES).items()}


def signed(text: str) -> str:
    return text if text == "–" else number(float(text), 2, "+")


def test_the_table_is_the_measured_one() -> None:
    measured, shown = measured_scores(), rows(COMPARE, PAGE)
    assert list(shown) == list(LABELS.values())
    for name, label in LABELS.items():
        _, mean, interval, found, its, *_ = measured[name]
        each = [number(returns(environment)[name].mean(), 0) for environment in ENVIRONMENTS]
        assert all(len(returns(environment)[name]) == 3 for environment in ENVIRONMENTS)
        expected = [label, mean, bare(interval), signed(found), its if its == "–" else bare(its, "+"), *each]
        assert shown[label] == expected


@pytest.mark.parametrize("page", PAGES)
def test_an_algorithms_page_has_its_row(page: str) -> None:
    everything = rows(COMPARE, PAGE)
    expected = {LABELS[name]: everything[LABELS[name]] for name in ("clip_0.2", PAGES[page])}
    assert rows(Path(f"sb3_ppo_variants/algorithms/{page}.md"), PAGE) == expected


def test_what_is_said_of_the_scores() -> None:
    shown, measured = rows(COMPARE, PAGE), measured_scores()
    found = {name: f"{shown[label][3]} ({shown[label][4]})" for name, label in LABELS.items()}
    ends = {name: [float(end) for end in measured[name][4].strip("[]").split(", ")] for name in [*LABELS][1:]}
    assert [name for name, (low, _) in ends.items() if low > 0] == []
    assert [name for name, (_, high) in ends.items() if high < 0] == ["no_clipping"]
    assert max(measured, key=lambda name: float(measured[name][1])) == "soft_clip_0.2"
    says(
        COMPARE,
        f"comes closest: {found['soft_clip_0.2']}",
        f"first in {float(measured['soft_clip_0.2'][7]):.0%}".replace("%", " %"),
        f"The row without restraint is shown to be worse, {found['no_clipping']}. `SPO` is not in mean score, "
        f"{found['spo']}",
    )
    says(
        ALGORITHMS,
        f"Soft clip {found['soft_clip_0.2']}, `ScopicPPO` {found['scopic']}, `DiscoveredPPO` {found['discovered']}, "
        f"`RollbackPPO` {found['rollback_0.3']}, `SPO` {found['spo']}",
    )
    soft, clip = (shown[LABELS[name]] for name in ("soft_clip_0.2", "clip_0.2"))
    says(
        Path("sb3_ppo_variants/algorithms/clip_ppo.md"),
        f"scores {soft[1]} on five MuJoCo environments where the clip scores {clip[1]}",
        f"({soft[3]}, {soft[4]};",
    )


def test_what_ranks_show_that_scores_do_not() -> None:
    results, _ = committed(FOLDER)
    ranks = {name: by_ranks(results, name, 9) for name in [*LABELS][1:]}
    ends = {name: float(text.rstrip(")").split(" to ")[1]) for name, text in ranks.items()}
    assert [name for name, end in ends.items() if end < 0.5] == ["no_clipping", "spo"]
    for page in (COMPARE, ALGORITHMS, Path("sb3_ppo_variants/algorithms/spo.md")):
        says(page, f"of the clip with probability {ranks['spo'].replace('(', '(99.4 %: ')}")
    deep = by_ranks(committed(f"{FOLDER}/deep")[0], "spo_deep", 2).replace("(", "(97.5 %: ")
    for page in (COMPARE, ALGORITHMS, Path("sb3_ppo_variants/algorithms/spo.md")):
        says(page, f"of the clip with probability {deep}")
    verdict = (ROOT / RESULTS / FOLDER / "table.md").read_text(encoding="utf-8").splitlines()[-1]
    assert verdict.count("by ranks") == 1
    assert "by ranks spo is worse" in verdict


def test_what_is_shown_within_one_environment() -> None:
    shown = {}
    for environment, table in zip(ENVIRONMENTS, tables(RESULTS / FOLDER / "table.md", ENVIRONMENT), strict=True):
        for name, _, _, _, _, found, its, *_ in table:
            low, high = (0.0, 0.0) if its == "–" else map(float, its.strip("[]").split(", "))
            if low * high > 0:
                difference = f"{number(float(found), 0)} ({between(low, high, 0)})"
                shown[name.removesuffix(" †"), environment] = difference
    assert list(shown) == [
        ("trpo", "HalfCheetah-v5"),
        *((name, "Humanoid-v5") for name in ("no_clipping", "adaptive_kl_0.01", "fixed_kl_1")),
    ]
    trpo, none, adaptive, fixed = shown.values()
    says(
        COMPARE,
        "four intervals exclude zero",
        f"TRPO on HalfCheetah, {trpo}",
        f"Humanoid no restraint, {none}, adaptive KL, {adaptive}, and fixed KL, {fixed}",
    )
    for name, what in (("no_clipping", "no restraint"), ("adaptive_kl_0.01", "adaptive KL")):
        ours, clip = (returns("Humanoid-v5")[row] for row in (name, "clip_0.2"))
        low, high = stats.ttest_ind(ours, clip, equal_var=False).confidence_interval(corrected_level(45))
        assert high < 0
        mean, interval = number(ours.mean() - clip.mean(), 0), between(low, high, 0)
        says(COMPARE, f"{what}, {mean} ({interval})")
        if name == "adaptive_kl_0.01":
            says(Path("sb3_ppo_variants/algorithms/kl_penalty_ppo.md"), f"{mean} (99.9 %: {interval}, by t)")
    for name, environment in (("trpo", "HalfCheetah-v5"), ("fixed_kl_1", "Humanoid-v5")):
        of = returns(environment)
        test = stats.ttest_ind(of[name], of["clip_0.2"], equal_var=False)
        assert test.confidence_interval(corrected_level(45)).high > 0
    means = {e: {name: found.mean() for name, found in returns(e).items()} for e in ENVIRONMENTS}
    assert max(means["Walker2d-v5"], key=means["Walker2d-v5"].__getitem__) == "scopic"
    assert sorted(means["Hopper-v5"], key=means["Hopper-v5"].__getitem__)[1] == "scopic"
    for environment in ("Ant-v5", "Humanoid-v5"):
        random, reference = reference_pairs(ENVIRONMENTS)[environment]
        assert max(found.max() for found in returns(environment).values()) - random < (reference - random) / 10
    assert number(reference_pairs(ENVIRONMENTS)["Ant-v5"][0], 0) == "−64"


def test_runs_that_table_1_has_too_on_the_same_kind_of_processor_are_equal() -> None:
    both = table_of(f"{FOLDER}/runs.csv.gz").merge(table1_returns(), on=KEY, suffixes=("", " of table 1"))
    kinds = (both[name].map(lambda text: json.loads(text)["BLAS"]) for name in ("versions", "versions of table 1"))
    same, equal = np.equal(*kinds), both["final_return"] == both[EARLY]
    assert (same == equal).all()
    assert (same.sum(), len(same)) == (28, 36)


KL_PAGE = "| row | Ant | difference from ε 0.2 | Humanoid | difference from ε 0.2 |"


def test_kl_penalties_on_ant_and_humanoid() -> None:
    runs, environments = table_of(f"{FOLDER}/runs.csv.gz"), ENVIRONMENTS[3:]
    shown, differences = rows(COMPARE, KL_PAGE), []
    assert len(shown) == 3
    for name in ("clip_0.2", "adaptive_kl_0.01", "fixed_kl_1"):
        expected = [LABELS[name]]
        for environment in environments:
            there = runs[runs["environment"] == environment]
            ours, clip = (there[there["row"] == row]["final_return"].to_numpy() for row in (name, "clip_0.2"))
            assert len(ours) == 3
            low, high = stats.ttest_ind(ours, clip, equal_var=False).confidence_interval(corrected_level(4))
            found = ours.mean() - clip.mean()
            expected.append(number(ours.mean(), 0))
            expected.append("–" if name == "clip_0.2" else f"{number(found, 0, '+')} ({between(low, high, 0)})")
            if name != "clip_0.2":
                assert (high < 0) == ((name, environment) != ("adaptive_kl_0.01", "Ant-v5"))
                differences.append(f"{-found:.0f} ({between(-high, -low, 0)})")
        assert shown[LABELS[name]] == expected
    ant, humanoid = (" and ".join(differences[i::2]) for i in (0, 1))
    says(
        ALGORITHMS,
        f"by {ant} on Ant and {humanoid} on Humanoid",
        "(target 0.01; β 1; corrected for these four comparisons), so all but adaptive KL on Ant are worse if",
    )
    there = runs[runs["environment"].isin(environments)]
    assert set(there["versions"].map(lambda text: json.loads(text)["processor"])) == {"AMD EPYC"}
    assert [gym.make(name).action_space.shape for name in ENVIRONMENTS] == [(6,), (3,), (6,), (8,), (17,)]


DEEP_PAGE = PAGE.replace("row", "row with a deep policy network").replace("99.4 %", "97.5 %")
DEEP_SCORES = SCORES.replace("99.4 %", "97.5 %").replace("clip_0.2", "clip_0.2_deep")
DEEP_ENVIRONMENT = ENVIRONMENT.replace("99.4 %", "97.5 %").replace("clip_0.2", "clip_0.2_deep")


def test_the_deep_rows() -> None:
    table, runs = RESULTS / FOLDER / "deep/table.md", table_of(f"{FOLDER}/deep/runs.csv.gz")
    measured, shown = rows(table, DEEP_SCORES), rows(COMPARE, DEEP_PAGE)
    assert list(shown) == [LABELS[name.removesuffix("_deep")] for name in measured]
    for name, (_, mean, interval, found, its, *_) in measured.items():
        label = LABELS[name.removesuffix("_deep")]
        means = runs[runs["row"] == name].groupby("environment")["final_return"].agg(["mean", "size"])
        assert list(means["size"]) == [3] * 5
        expected = [label, mean, bare(interval), signed(found), its if its == "–" else bare(its, "+")]
        assert shown[label] == [*expected, *(number(means["mean"][e], 0) for e in ENVIRONMENTS)]
        assert its == "–" or its.endswith(" 0.00]") or np.prod([float(end) for end in its.strip("[]").split(", ")]) < 0
    verdict = table.read_text(encoding="utf-8").splitlines()[-1]
    assert "the seeds do not tell rollback_0.3_deep and spo_deep apart from clip_0.2_deep" in verdict
    spo = shown[LABELS["spo"]]
    says(ALGORITHMS, f"Not shown: {spo[3]} ({spo[4]})")
    says(Path("sb3_ppo_variants/algorithms/spo.md"), f"same network is {spo[3]} ({spo[4]})")


def test_what_is_said_of_the_deep_rows_within_an_environment() -> None:
    runs = table_of(f"{FOLDER}/deep/runs.csv.gz")

    def shown(comparisons: int) -> dict[tuple[str, str], str]:
        found = {}
        for environment, there in runs.groupby("environment"):
            of = there.groupby("row")["final_return"].apply(np.array)
            for name in ("rollback_0.3_deep", "spo_deep"):
                test = stats.ttest_ind(of[name], of["clip_0.2_deep"], equal_var=False)
                low, high = test.confidence_interval(corrected_level(comparisons))
                if low * high > 0:
                    difference = of[name].mean() - of["clip_0.2_deep"].mean()
                    found[name, environment] = f"{number(difference, 0)} ({between(low, high, 0)})"
        return found

    of_all, of_two = shown(10), shown(2)
    assert list(of_all) == [(name, "Humanoid-v5") for name in ("rollback_0.3_deep", "spo_deep")]
    assert set(of_two) - set(of_all) == {("spo_deep", "Walker2d-v5"), ("spo_deep", "Ant-v5")}
    rollback, spo = of_all.values()
    says(COMPARE, f"on Humanoid: `SPO` {spo} and `RollbackPPO` {rollback}")
    says(COMPARE, f"on Walker2d, {of_two['spo_deep', 'Walker2d-v5']}, and on Ant, {of_two['spo_deep', 'Ant-v5']}")
    says(ALGORITHMS, f"On Humanoid it is shown to be worse, {spo}, corrected for all ten")
    means = runs.groupby(["environment", "row"])["final_return"].mean().unstack()
    assert list(means.index[means["spo_deep"] > means["clip_0.2_deep"]]) == ["Hopper-v5"]
    hopper = runs[runs["environment"] == "Hopper-v5"].groupby("row")["final_return"].mean()
    assert hopper.idxmin() == "clip_0.2_deep"
    assert set(runs["versions"].map(lambda text: json.loads(text)["processor"])) == {"AMD EPYC"}
