"""The verdict of made-up comparisons: what it says, and that its numbers are those of the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.comparison.comparison import write_files
from sb3_ppo_variants.experiments.comparison.results import Results
from sb3_ppo_variants.experiments.comparison.tables import comparison_tables
from sb3_ppo_variants.experiments.comparison.verdict import verdict
from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.experiments.stats.estimators import improvement_interval, relative_improvement_width
from sb3_ppo_variants.experiments.stats.intervals import relative_width, t_interval
from tests.experiments.html_reader import read

Scores = Mapping[str, Sequence[float | None]]


def records(scores: Scores, environment: str = "A-v0", settings: Mapping[str, object] | None = None) -> list[Record]:
    """Runs of variants of ``clip_ppo`` with these final returns; ``None``: the run failed."""
    found = []
    for name, returns in scores.items():
        for seed, value in enumerate(returns):
            algorithm = name if name.startswith("sb3:") else "clip_ppo"
            run = Run(algorithm, environment, seed, 1000, 1, settings or {}, None if algorithm == name else name)
            result = None if value is None else Result(value, 200, 1000, 0.5, [CurvePoint(1000, 0.5, value, 9.0)], {})
            found.append(Record(run, "failed" if value is None else "done", result, value and None))
    return found


def say(scores: Scores, reference: str = "base", environment: str = "A-v0") -> str:
    return verdict(Results(records(scores, environment), reference))


SPREAD = [-1.0, -0.5, 0.0, 0.5, 1.0]
BASE = [100.0 + x for x in SPREAD]
BETTER = [120.0 + x for x in SPREAD]
WORSE = [20.0 + x for x in SPREAD]


def test_a_clear_winner() -> None:
    said = say({"base": BASE, "good": BETTER, "like": [100.2 + x for x in SPREAD]})
    assert said.startswith("On A-v0 good is better than base by 20.0 (")
    assert said.endswith("; the seeds do not tell like apart from it (n = 5, few; 95 %, corrected for 2 comparisons).")


def test_winners_and_losers_in_the_order_of_their_intervals() -> None:
    best = [200.0 + x for x in SPREAD]
    said = say({"base": BASE, "good": BETTER, "bad": WORSE, "best": best})
    assert said.startswith("On A-v0 best and good are better than base by 100.0 (")
    assert "; bad is worse than base by 80.0 (" in said
    assert "do not tell" not in said
    many = {f"bad{i}": [float(i) + x for x in SPREAD] for i in range(4)}
    assert "On A-v0 bad0, bad1, bad2 and bad3 are worse than base (n = 5" in say({"base": BASE, **many})


@pytest.mark.parametrize("n", [3, 5])
def test_the_numbers_are_those_of_the_table(n: int) -> None:
    results = Results(records({"base": BASE[:n], "good": BETTER[:n], "bad": WORSE[:n]}), "base")
    tables = comparison_tables(results)
    lines = {line[0]: line for line in tables.single[0].body}
    value, interval = lines["good"][5:7]
    assert f"good is better than base by {value} ({' to '.join(interval.strip('[]').split(', '))})" in tables.verdict
    value, interval = lines["bad"][5:7]
    low, high = (float(end) for end in interval.strip("[]").split(", "))
    assert f"bad is worse than base by {-float(value):.1f} ({-high:.1f} to {-low:.1f})" in tables.verdict


def test_nothing_is_told_apart_and_what_more_seeds_would_change() -> None:
    wide = {"base": [100.0, 130.0, 160.0], "other": [110.0, 140.0, 170.0]}
    half = float(stats.t.ppf(0.975, 4)) * 30 * np.sqrt(2 / 3)
    ratio = stats.t.ppf(0.975, 18) / np.sqrt(10) / (stats.t.ppf(0.975, 4) / np.sqrt(3))
    assert say(wide) == (
        "On A-v0 the seeds do not tell other apart from base: only a measured difference of more than about "
        f"{half:.1f} would have shown; with --seeds 10, intervals are about {ratio:.2g} times as wide (n = 3, few; "
        "95 %)."
    )
    ten = {"base": [*np.linspace(0.0, 9.0, 10)], "other": [*np.linspace(0.5, 9.5, 10)], "third": [5.0] * 10}
    said = say(ten)
    assert "with --seeds 40, intervals are about 0.4" in said
    assert said.endswith("(n = 10; 95 %, corrected for 2 comparisons).")


def test_the_projected_width_is_that_of_the_same_spread() -> None:
    # Over two environments, with other spreads; the sample deviation of ±1 is √(n/(n − 1)).
    weights = [0.5, -0.5, 0.5, -0.5]
    few, many = ([np.array([-scale, scale] * (n // 2)) for scale in (1.0, 2.0, 3.0, 4.0)] for n in (4, 10))
    narrow, wide = (t_interval(samples, weights) for samples in (many, few))
    assert narrow is not None
    assert wide is not None
    deviation = np.sqrt(10 / 9) / np.sqrt(4 / 3)
    assert relative_width(few, weights, 10) == pytest.approx(
        (narrow.high - narrow.low) / (wide.high - wide.low) / deviation
    )


def test_the_projected_width_of_a_probability_is_that_of_more_runs_with_no_difference() -> None:
    def width(n: int) -> float:
        # Between x and −x as often above as below: ½, without ties.
        runs = [np.array([-1.0, 1.0] * n), np.array([-0.5, 0.5] * n)]
        interval = improvement_interval([(runs[0], runs[1])] * 3, 0.99)
        assert interval is not None
        return interval.high - interval.low

    assert relative_improvement_width([(np.arange(4), np.arange(4) + 9)] * 3, 20, 0.99) == pytest.approx(
        width(10) / width(2)
    )


def test_a_range_where_the_variants_spread_differently() -> None:
    said = say({"base": [0.0, 1.0, 2.0], "like": [0.0, 1.0, 2.0], "wild": [-30.0, 0.0, 33.0]})
    halves = [
        stats.ttest_ind(own, [0.0, 1.0, 2.0], equal_var=False).confidence_interval(1 - 0.05 / 2)
        for own in ([0.0, 1.0, 2.0], [-30.0, 0.0, 33.0])
    ]
    low, high = ((interval.high - interval.low) / 2 for interval in halves)
    assert f"only a measured difference of more than about {low:.2f} to {high:.1f} would have shown" in said
    # t with 18 degrees of freedom instead of 4, and nearly with 9 instead of 2.
    first, second = (
        stats.t.ppf(1 - 0.025 / 2, many) / np.sqrt(10) / (stats.t.ppf(1 - 0.025 / 2, few) / np.sqrt(3))
        for few, many in ((2.004, 9.02), (4, 18))
    )
    assert f"intervals are about {first:.2g} to {second:.2g} times as wide" in said


def test_equal_runs_and_single_runs() -> None:
    assert say({"base": [500.0] * 3, "other": [500.0] * 3}) == (
        "On A-v0 the seeds do not tell other apart from base: 3 runs that are all equal do not show how much runs "
        "differ, so give more --seeds."
    )
    # By chance: a rate of success of 1 % in each of two runs, of 0 % in the others.
    assert "base is" not in say({"base": [0.0, 0.0], "other": [0.01, 0.01]})
    some = say({"base": [9.0] * 3, "far": [500.0] * 3, "near": [9.0, 10.0, 8.0]})
    assert (
        "base: 3 runs that are all equal do not show how much runs of far differ, so give more --seeds; of the" in some
    )
    assert "of the others, only a measured difference of more than about" in some
    # Five against five have p = 0.008 by ranks: enough for one comparison, not for seven.
    assert "other is better than base by 1.00 (1.00 to 1.00)" in say({"base": [0.0] * 5, "other": [1.0] * 5})
    seven = {f"other{i}": [1.0] * 5 for i in range(7)}
    assert " is better" not in say({"base": [0.0] * 5, **seven})
    assert say({"base": [500.0], "other": [100.0]}) == (
        "On A-v0 the seeds do not tell other apart from base: one run does not show how much runs differ, so give more "
        "--seeds."
    )


def test_a_reference_without_runs_is_named() -> None:
    assert say({"base": [None, None], "good": BETTER, "bad": WORSE}) == (
        "On A-v0 nothing can be compared with base, which has no finished run; 2 of 12 runs failed and are not counted."
    )
    assert say({"base": [1.0, 2.0], "bad": [None]}).endswith("; 1 of 3 runs failed and is not counted.")


def test_one_variant_only() -> None:
    assert say({"base": BASE}) == "There is only base, and nothing to compare it with."


def test_failed_and_missing_runs_are_said() -> None:
    said = say({"base": BASE, "good": [*BETTER[:3], None, None], "broken": [None] * 5})
    assert said.startswith("On A-v0 good is better than base by ")
    assert said.endswith(
        "(n = 3, few; 95 %, corrected for 2 comparisons); broken cannot be compared, for want of finished runs; 7 of "
        "15 runs failed and are not counted."
    )
    assert say({"base": [None, None], "other": [1.0, 2.0]}) == (
        "On A-v0 nothing can be compared with base, which has no finished run; 2 of 4 runs failed and are not counted."
    )
    unfinished = [Record(r.run, "missing") if r.run.seed else r for r in records({"base": BASE, "other": BETTER})]
    assert verdict(Results(unfinished, "base")).endswith("; 8 of 10 runs are not done yet.")


def test_several_environments_on_a_scale() -> None:
    results = Results(
        [
            *records({"base": [100.0, 101.0, 102.0], "other": [400.0, 401.0, 402.0]}, "CartPole-v1"),
            *records({"base": [-400.0, -401.0, -402.0], "other": [-100.0, -101.0, -102.0]}, "Acrobot-v1"),
        ],
        "base",
    )
    tables = comparison_tables(results)
    value, interval = tables.overall[0].body[1][3:5]
    assert tables.verdict == (
        "Over 2 environments, in mean score (random policy 0, reference 1), other is better than base by "
        f"{value} ({' to '.join(interval.strip('[]').split(', '))}) (n = 3, few; 95 %)."
    )


def test_ranks_are_said_where_failed_runs_hide_a_difference() -> None:
    # Three of fifteen runs failed: 180 of 225 pairs go the other way, and the exact test says that it is not by chance.
    some_failed = [*(-90.0 - i for i in range(12)), -263.0, -264.0, -265.0]
    lower = [-105.0 - i for i in range(15)]
    assert stats.mannwhitneyu(lower, some_failed, method="exact").pvalue < 0.05
    said = say({"base": some_failed, "lower": lower})
    assert said.startswith("On A-v0 the seeds do not tell lower apart from base: only")
    low, high = improvement_interval([(np.array(lower), np.array(some_failed))]) or (0.0, 1.0)
    assert said.endswith(
        f"; by ranks lower is worse than base, whose runs it beats with probability 0.20 ({low:.2f} to {high:.2f})."
    )
    assert "; by ranks other is better than base, whose" in say({"base": lower, "other": some_failed})
    # Beside one that is told apart; corrected for fifteen it is not shown.
    some = {"base": some_failed, "lower": lower, "good": [200.0 + i for i in range(15)]}
    assert " apart from it (n = 15; 95 %, corrected for 2 comparisons); by ranks lower is worse" in say(some)
    assert "by ranks" not in say({**some, **{f"like {i}": some_failed for i in range(13)}})


def test_several_environments_without_a_scale() -> None:
    better = {"base": BASE, "other": BETTER}
    results = Results([*records(better, "A-v0"), *records(better, "B-v0")], "base")
    tables = comparison_tables(results)
    value, interval = tables.overall[0].body[1][4:6]
    assert tables.verdict == (
        "Over 2 environments other is better than base, whose runs it beats with probability "
        f"{value} ({' to '.join(interval.strip('[]').split(', '))}) (n = 5, few; 95 %)."
    )
    said = verdict(Results([*records(better, "A-v0"), *records({"base": BETTER, "other": BASE}, "B-v0")], "base"))
    assert said.startswith("Over 2 environments the seeds do not tell other apart from base; with --seeds 10")
    # Only in one environment both have runs; then in none.
    none = {"base": BASE, "other": [None] * 5}
    alone = comparison_tables(Results([*records(better, "A-v0"), *records(none, "B-v0")], "base"))
    assert alone.verdict.startswith(
        "On A-v0, the only one of 2 environments where every row with finished runs has one, other is better than base "
        "by 20.0"
    )
    assert not any("Left out of the aggregate" in note for note in alone.notes)
    nowhere = Results([*records(none, "A-v0"), *records(none, "B-v0")], "base")
    assert verdict(nowhere).startswith("Over 2 environments nothing can be compared, for want of finished runs; 10 of")


def test_rows_that_are_not_on_the_published_scale_are_named() -> None:
    scores = {"base": BASE, "other": BETTER, "third": BETTER}
    without = {**scores, "third": [None] * 5}
    found = [*records(scores, "CartPole-v1"), *records(without, "Acrobot-v1")]
    notes = comparison_tables(Results(found, "base", {"base": 1.0, "other": 2.0})).notes
    left_out = [note for note in notes if "Left out of the aggregate" in note]
    assert left_out == [
        "Left out of the aggregate, because they have no finished run in one of its environments: third"
    ]


def test_a_peer_with_our_settings_is_marked_and_one_with_its_own_is_not() -> None:
    shared = {"clip_range": 0.2, "gamma": 0.99, "gae_lambda": 0.95, "n_epochs": 10, "vf_coef": 0.5}
    for ent_coef, name in ((0.01, "sb3:ppo (our settings)"), (0.0, "sb3:ppo")):
        found = records({"sb3:ppo": BASE, "other": BETTER}, settings={**shared, "ent_coef": ent_coef})
        tables = comparison_tables(Results(found, "sb3:ppo"))
        assert f"other is better than {name} by" in tables.verdict
        assert tables.single[0].body[0][0] == name


def test_it_is_in_the_report_the_markdown_and_the_result(tmp_path: Path) -> None:
    comparison = write_files(records({"base": BASE, "good": BETTER}), tmp_path)
    said = comparison.report.verdict
    assert said.startswith("On A-v0 good is better than base by 20.0 (")
    assert (tmp_path / "table.md").read_text(encoding="utf-8").endswith(f"\n\n{said}\n")
    assert said in "".join(read((tmp_path / "report.html").read_text(encoding="utf-8")).text)
