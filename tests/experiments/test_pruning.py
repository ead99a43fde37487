"""Median pruning and its audit, by hand."""

import dataclasses
from collections.abc import Callable

import pytest

from sb3_ppo_variants.experiments.ledger import Ledger
from sb3_ppo_variants.experiments.pruning import Rule, audit, below_median, checkpoint_values
from sb3_ppo_variants.experiments.trials import TrialRecord
from sb3_ppo_variants.experiments.tuning_ledger import read_trials
from tests.experiments.fake_trials import begin, cheap_plan, work_here

MakeLedger = Callable[..., Ledger]


def line(final: float) -> list[tuple[int, float | None]]:
    """A curve of ten points, 0 to ``final``; nothing had finished at the first."""
    return [(10 * i, None if i == 1 else final * i / 10) for i in range(1, 11)]


def record(number: int, *finals: float) -> TrialRecord:
    score = sum(finals) / len(finals)
    curves = {"A": [line(final) for final in finals]}
    return TrialRecord(number, number, "done", {}, {}, {"A": finals}, score, None, 1.0, None, curves, {})


def test_values_are_those_of_the_first_point_that_reaches_the_checkpoint() -> None:
    curve = [(25, 1.0), (50, None), (75, 3.0), (100, 4.0)]
    assert checkpoint_values(curve, 100) == [1.0, 1.0, None, None, None, 3.0, 3.0, 4.0, 4.0, 4.0]
    assert checkpoint_values(curve[:1], 100) == [1.0, 1.0, *[None] * 8]


def test_below_the_median_of_at_least_five() -> None:
    assert below_median(2.9, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert not below_median(3.0, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert not below_median(0.0, [1.0, 2.0, 3.0, 4.0])
    assert not below_median(0.0, [1.0, 2.0, 3.0, 4.0, None])
    assert not below_median(None, [1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize(("number", "prunes"), [(0, False), (5, False), (6, True)])
def test_the_defaults_and_the_five_after_them_are_never_pruned(number: int, prunes: bool) -> None:
    others = [record(i, float(i)).curves for i in range(1, 6)]
    said = [Rule(number, 100, others).objection("A", 0, line(2.0)[:end]) for end in range(1, 11)]
    # Of five with finals 1 to 5 the median's curve is that of 3: above 2's from the first, looked at from checkpoint 3.
    assert [text is not None for text in said] == [False, False, *[prunes] * 8]
    if prunes:
        assert said[2] == "checkpoint 3 of 10 of A, seed 0: 30 steps"
    assert all(Rule(number, 100, others).objection("A", 0, line(3.0)[:end]) is None for end in range(1, 11))


def test_steps_are_paired_over_environments_and_seeds() -> None:
    others = [{"A": [line(1.0), line(9.0)], "B": [line(5.0), line(5.0)]}] * 5
    rule = Rule(6, 100, others)
    assert rule.objection("A", 0, line(2.0)) is None
    assert rule.objection("A", 1, line(2.0)) is not None
    assert rule.objection("B", 0, line(2.0)) is not None


def test_audit_by_hand() -> None:
    trials = [record(i, float(i), float(i)) for i in range(1, 6)]
    trials += [record(6, 9.0, 9.0), record(7, 1.0, 9.0), record(8, 4.0, 1.0), record(9, 0.0, 10.0)]
    found = audit(trials, 100)
    assert found is not None
    # 7 and 9 end at checkpoint 3 of their first run: 30 of 200 steps. With 6 in, the six medians are those of 3.5 (7),
    # then 8 goes on past 3.5 in its first run and ends at checkpoint 3 of its second: 130 of 200 steps.
    assert found.pruned == [7, 8, 9]
    assert found.steps_saved == pytest.approx((0.85 + 0.35 + 0.85) / 9)
    assert not found.best_lost
    assert found.best_survivor_rank == 1
    lost = audit([*trials[:6], record(7, 1.0, 100.0)], 100)
    assert lost is not None
    assert lost.best_lost
    assert lost.best_survivor_rank == 2
    assert lost.trials == 7


def test_audit_leaves_out_what_did_not_run_to_the_end() -> None:
    assert audit([], 100) is None
    pruned = dataclasses.replace(record(7, 0.0), state="pruned", score=None)
    reused = dataclasses.replace(record(8, 0.0), reused=1)
    found = audit([*(record(i, float(i)) for i in range(6)), pruned, reused], 100)
    assert found is not None
    assert (found.trials, found.pruned, found.steps_saved) == (6, [], 0.0)


def test_pruned_trials_count_and_say_so_and_the_study_repeats(
    make_ledger: MakeLedger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan, studies = cheap_plan(pruning=True, sampler="tpe", timesteps=10), []
    for _ in range(2):
        ledger = make_ledger(str(tmp_path_factory.mktemp("study") / "ledger.db"))
        begin(ledger, plan, 20)
        work_here(ledger)
        studies.append([(t.values, t.state, t.reason, t.returns) for t in read_trials(ledger, plan)])
        assert work_here(ledger) == 0
    assert studies[0] == studies[1]
    states = [state for _, state, _, _ in studies[0]]
    assert len(states) == 20
    assert states[:6] == ["done"] * 6
    assert {"done", "pruned"} == set(states)
    for _, state, reason, returns in studies[0]:
        if state == "pruned":
            assert str(reason).startswith("pruned at checkpoint ")
            assert len(returns["CartPole-v1"]) < 2


def test_audit_agrees_with_what_pruning_does(make_ledger: MakeLedger, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random search proposes the same whatever is pruned: so the audit of the one is the other."""
    found = {}
    for pruning in (False, True):
        ledger = make_ledger(str(tmp_path_factory.mktemp("study") / "ledger.db"))
        plan = cheap_plan(pruning=pruning, timesteps=10)
        begin(ledger, plan, 16)
        work_here(ledger)
        found[pruning] = read_trials(ledger, plan)
    audited = audit(found[False], 10)
    assert audited is not None
    assert audited.pruned == [t.number for t in found[True] if t.state == "pruned"]
    assert audited.pruned
