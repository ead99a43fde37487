"""The verdict against arithmetic by hand, SciPy, and studies in which nothing is better than the defaults."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from sb3_ppo_variants.experiments.stats import estimators, intervals
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from sb3_ppo_variants.experiments.tuning.metric import Metric, detectable_difference
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from sb3_ppo_variants.experiments.tuning.verdict import Verdict, judge
from tests.forms import long

ONE = ("Mine-v0",)
TWO = ("Mine-v0", "Yours-v0")
REFERENCES = {"Mine-v0": (0.0, 100.0), "Yours-v0": (-50.0, 50.0)}


def study(environments: Sequence[str] = ONE, aggregation: str = "return") -> StudyPlan:
    references = REFERENCES if aggregation == "normalised" else {}
    return StudyPlan(
        "clip_ppo", tuple(environments), 1000, 1, 3, {}, {}, "random", 0, aggregation, False, references
    )  # fmt: skip


def candidate(name: str, *returns: Sequence[float], failed: Mapping[str, Sequence[str]] | None = None) -> Candidate:
    return Candidate(name, {}, {}, dict(zip(TWO, returns, strict=False)), failed or {})


def line(found: Verdict, *start: str) -> list[str]:
    return next(cells for cells in found.table.body if tuple(cells[: len(start)]) == start)


LOW = [float(x) for x in range(10)]  # the IQM of 0 … 9 is that of 2 … 7, 4.5
HIGH = [x + 100 for x in LOW]


def test_a_clear_winner() -> None:
    found = judge(study(), [candidate("defaults", LOW), candidate("trial 7", HIGH)])
    assert found.winner == "trial 7"
    assert found.words.startswith("trial 7 beats the documented defaults: +100.0 (+")
    assert "95 % confidence." in found.words
    assert f"with probability 1.00 ({line(found, 'trial 7')[7]})." in found.words
    assert line(found, "trial 7")[2:5] == ["104.5", "4.50", "+100.0"]
    assert line(found, "trial 7")[6] == "1.00"
    assert line(found, "trial 7")[-2:] == ["10 / 10", "0 / 0"]


def test_nothing_better() -> None:
    found = judge(study(), [candidate("trial 7", LOW), candidate("defaults", LOW), candidate("trial 9", LOW[::-1])])
    assert found.winner is None
    assert found.words.startswith("no tuned setting is shown to beat the documented defaults: of the 2 compared")
    assert "would have been found with a probability of about 0.8" in found.words
    worse = judge(study(), [candidate("trial 7", LOW), candidate("defaults", HIGH)])
    assert worse.winner is None
    assert "−100.0" in worse.words
    assert "would have been found" not in worse.words
    few = judge(study(), [candidate("trial 7", LOW), candidate("defaults", LOW[:4])])
    assert "nothing is confirmed: that takes 5" in few.words
    assert "would have been found" not in few.words


def test_the_interval_is_scipys_at_the_corrected_level() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 10)).tolist()
    others = [candidate(f"trial {i}", x) for i in (1, 2, 3, 4)]
    found = judge(study(), [candidate("defaults", y), *others])

    def iqm(data: np.ndarray, axis: int) -> np.ndarray:
        return np.sort(data, axis=axis).take(range(2, 8), axis=axis).mean(axis=axis)

    level = intervals.widened_level(1 - 0.05 / 4, 10, intervals.freedom([x, y], [1, 1]))
    expected = stats.bootstrap(
        (x, y), lambda a, b, axis=-1: iqm(a, axis) - iqm(b, axis), confidence_level=level, method="percentile",
        n_resamples=intervals.RESAMPLES, rng=np.random.default_rng(99),
    )  # fmt: skip
    assert found.level == 1 - 0.05 / 4
    interval = found.differences[0].interval
    assert interval is not None
    assert interval == pytest.approx(tuple(expected.confidence_interval), abs=0.06)
    assert found.differences[0].improvement == pytest.approx(stats.mannwhitneyu(x, y).statistic / 100)


def test_bonferroni_needs_more_the_more_are_looked_at() -> None:
    # The difference of two such IQMs has its 2.5 % quantile at −3.2 and its 0.05/30 quantile at −4.5: 4.2 lies between.
    alone = [candidate("defaults", LOW), candidate("trial 1", [x + 4.2 for x in LOW])]
    crowd = [candidate(f"trial {i}", LOW) for i in range(2, 16)]
    assert judge(study(), alone).winner == "trial 1"
    assert judge(study(), [*alone, *crowd]).winner is None


def test_several_environments_normalised() -> None:
    # IQM 54.5 of a scale of 100 against 4.5, and −4.5 + 50 against 45.5: +0.5 and −0.5 + 0.49
    plan = study(TWO, "normalised")
    first, second = [x + 50 for x in LOW], [x - 49 for x in LOW]
    found = judge(plan, [candidate("defaults", LOW, LOW), candidate("trial 7", first, second)])
    assert found.differences[0].difference == pytest.approx((50 / 100 + -49 / 100) / 2)
    assert found.differences[0].metric.name == "normalised"
    assert found.winner is None
    assert [cells[1] for cells in found.table.body] == ["Mine-v0", "Yours-v0", "all, normalised"]
    assert line(found, "trial 7", "Yours-v0")[4] == "−49.0"


def test_several_environments_without_a_reference_use_ranks() -> None:
    found = judge(study(TWO, "ranks"), [candidate("defaults", LOW, LOW), candidate("trial 7", HIGH, LOW)])
    decides = found.differences[0]
    assert decides.metric.name == "ranks"
    assert decides.difference == pytest.approx((1 + 0.5) / 2 - 0.5)  # better in every pair, and a draw
    # With nothing different, U has variance n·m·(n + m + 1)/12 in each environment.
    error = np.sqrt(10 * 10 * 21 / 12) / (10 * 10) / np.sqrt(2)
    assert decides.interval is not None
    assert decides.interval.low > 0
    assert decides.interval.low == pytest.approx(0.25 - stats.norm.ppf(0.975) * error, abs=0.03)
    assert found.winner == "trial 7"


def test_failed_runs_of_a_candidate_count_as_the_worst() -> None:
    failed = {"Mine-v0": ["nan: diverged"] * 5}
    # Dropped, the five failures would leave five runs of 107 and more: a winner.
    found = judge(study(), [candidate("defaults", LOW), candidate("trial 7", HIGH[5:], failed=failed)])
    assert found.winner is None
    assert found.differences[0].center == pytest.approx((0 + 0 + 0 + 105 + 106 + 107) / 6)  # the worst seen is 0
    assert line(found, "trial 7")[-2:] == ["10 / 10", "5 / 0"]
    assert "FAILED trial 7 Mine-v0, 5 runs: nan: diverged" in found.notes


def test_failed_runs_count_as_the_random_policy_where_that_is_known() -> None:
    plan = dataclasses.replace(study(), environments=("CartPole-v1",))
    runs = [400.0 + x for x in LOW]
    defaults = Candidate("defaults", {}, {}, {"CartPole-v1": runs}, {})
    all_failed = Candidate("trial 7", {}, {}, {}, {"CartPole-v1": ["env: broken"] * 10})
    found = judge(plan, [defaults, all_failed])
    assert found.differences[0].center == pytest.approx(21.61)  # references.json
    assert found.winner is None


def test_failed_runs_of_the_defaults_are_left_out() -> None:
    failed = {"Mine-v0": ["nan: diverged"] * 2}
    found = judge(study(), [candidate("defaults", HIGH[:8], failed=failed), candidate("trial 7", HIGH)])
    assert found.differences[0].center_defaults == pytest.approx(np.mean(HIGH[2:6]))
    assert found.winner is None
    gone = judge(study(), [candidate("defaults", failed={"Mine-v0": ["x"] * 10}), candidate("trial 7", HIGH)])
    assert gone.winner is None
    assert gone.words.endswith("too few runs finished to compare anything.")


def test_few_finished_runs_of_the_defaults_confirm_nothing() -> None:
    failed = {"Mine-v0": ["timeout: 60 s"] * 6}
    found = judge(study(), [candidate("defaults", LOW[:4], failed=failed), candidate("trial 7", HIGH)])
    assert found.winner is None
    assert "With 4 finished runs of the defaults nothing is confirmed: that takes 5." in found.words


def test_few_seeds_confirm_nothing() -> None:
    found = judge(study(), [candidate("defaults", LOW[:9]), candidate("trial 7", HIGH[:9])])
    assert found.winner is None
    assert "With 9 test seeds nothing is confirmed: that takes at least 10." in found.words
    single = judge(study(), [candidate("defaults", LOW[:1]), candidate("trial 7", HIGH[:1])])
    assert single.winner is None
    assert line(single, "trial 7")[5] == "–"


def test_the_defaults_alone_and_without_them() -> None:
    found = judge(study(), [candidate("defaults", LOW)])
    assert (found.winner, found.table.body) == (None, [])
    assert found.words.endswith("the study offered no other setting.")
    with pytest.raises(ValueError, match="needs a candidate 'defaults', got \\['trial 7'\\]"):
        judge(study(), [candidate("trial 7", LOW)])


def test_levels() -> None:
    assert corrected_level(1) == pytest.approx(0.95)
    assert corrected_level(5) == pytest.approx(0.99)
    assert detectable_difference(2.0, 7.0, 0.5) == 2.0  # power ½: the limit is hit on average


@pytest.mark.parametrize("environments", [1, long(5)])
def test_a_detectable_difference_is_found_as_often_as_said(environments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 499)
    draws = np.random.default_rng(8).normal(size=(400, environments, 2, 10))
    found = [
        Metric([], {}).difference({str(i): (x, y) for i, (x, y) in enumerate(d)}, corrected_level(3)) for d in draws
    ]
    said = np.mean([each.detectable for each in found if each.detectable is not None])
    # A true difference moves the interval by just that.
    power = np.mean([each.interval is not None and each.interval.low + said > 0 for each in found])
    assert 0.76 <= power <= 0.86


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half of the runs solve the task, as on CartPole."""
    return np.where(rng.random(shape) < 0.5, 500.0, 100 + 50 * rng.normal(size=shape))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


@pytest.mark.parametrize(
    ("draw", "candidates", "environments", "aggregation"),
    [
        (normal, 1, ONE, "return"),
        long(bimodal, 5, ONE, "return"),
        long(normal, 2, TWO, "normalised"),
        (bimodal, 2, TWO, "ranks"),
    ],
)
def test_false_positives_are_rare(
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    candidates: int,
    environments: Sequence[str],
    aggregation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Studies in which every candidate is the defaults again: at most 5 % of them may name a winner."""
    monkeypatch.setattr(intervals, "RESAMPLES", 499)
    if aggregation != "ranks":  # elsewhere not part of the decision, and most of the time
        monkeypatch.setattr(estimators, "improvement_interval", lambda pairs, confidence: None)
    rng, plan, studies, winners = np.random.default_rng(5), study(environments, aggregation), 100, 0
    for _ in range(studies):
        names = ["defaults", *(f"trial {i}" for i in range(candidates))]
        found = judge(plan, [candidate(name, *draw(rng, (len(environments), 10)).tolist()) for name in names])
        winners += found.winner is not None
    assert winners / studies <= 0.05


def test_a_winner_that_harms_one_environment_says_so() -> None:
    worse = [x - 5 for x in LOW]
    found = judge(study(TWO, "normalised"), [candidate("defaults", LOW, LOW), candidate("trial 7", HIGH, worse)])
    assert found.winner == "trial 7"
    assert found.words.endswith("By environment: better in Mine-v0; worse in Yours-v0.")
    assert [(d.environment, d.better, d.worse) for d in found.winner_lines] == [
        ("Mine-v0", True, False),
        ("Yours-v0", False, True),
    ]


def test_a_winner_that_loses_by_ranks_says_so() -> None:
    # Three of fifteen runs of the defaults failed in the second environment.
    some_failed = [*(-90.0 - i for i in range(12)), -263.0, -264.0, -265.0]
    lower = [-105.0 - i for i in range(15)]
    tried = [candidate("defaults", [*LOW, *LOW[:5]], some_failed), candidate("trial 7", [*HIGH, *HIGH[:5]], lower)]
    found = judge(study(TWO, "normalised"), tried)
    assert found.winner == "trial 7"
    assert found.words.endswith(
        " By environment: better in Mine-v0; not shown to differ in Yours-v0. By P(better) besides: worse in Yours-v0 "
        "(0.20)."
    )


def test_single_environments_are_corrected_for_settings_and_environments() -> None:
    others = [candidate(f"trial {i}", HIGH, LOW) for i in (1, 2)]
    found = judge(study(TWO, "normalised"), [candidate("defaults", LOW, LOW), *others])
    assert [d.level for d in found.differences] == [1 - 0.05 / 2] * 2
    assert [d.level for d in found.winner_lines] == [1 - 0.05 / 4] * 2
    assert [cells[8] for cells in found.table.body[:3]] == ["98.8 %", "98.8 %", "97.5 %"]
    # 4.2 is enough for one setting in one environment, and not for one of 15 environments.
    plan = dataclasses.replace(study(tuple(f"Mine{i}-v0" for i in range(15)), "ranks"))
    runs = dict.fromkeys(plan.environments, LOW)
    better = Candidate("trial 1", {}, {}, {e: [x + 4.2 for x in LOW] for e in runs}, {})
    lines = judge(plan, [Candidate("defaults", {}, {}, runs, {}), better]).winner_lines
    assert len(lines) == 15
    assert not any(line.better for line in lines)
