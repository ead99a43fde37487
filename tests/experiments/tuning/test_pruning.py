"""Pruning and its audit, by hand."""

import dataclasses
from collections.abc import Callable

import pytest

from sb3_ppo_variants.experiments.engine.ledger import Ledger
from sb3_ppo_variants.experiments.tuning.pruning import PruningRule, audit, checkpoint_values, share_beaten
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, read_trials
from tests.experiments.tuning.fake_trials import begin, cheap_plan, work_here

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


def test_the_share_of_at_least_five_that_is_beaten() -> None:
    assert share_beaten(2.9, [1.0, 2.0, 3.0, 4.0, 5.0]) == 0.4
    assert share_beaten(3.0, [1.0, 2.0, 3.0, 4.0, 5.0]) == 0.5  # of equals, half
    assert share_beaten(0.0, [1.0, 2.0, 3.0, 4.0]) is None
    assert share_beaten(0.0, [1.0, 2.0, 3.0, 4.0, None]) is None
    assert share_beaten(None, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


@pytest.mark.parametrize(("number", "prunes"), [(0, False), (5, False), (6, True)])
def test_the_defaults_and_the_five_after_them_are_never_pruned(number: int, prunes: bool) -> None:
    rule = PruningRule(number, 100, [record(i, float(i)).curves for i in range(1, 6)])
    said = [rule.objection("A", 0, line(1.5)[:end], {"A": []}) for end in range(1, 11)]
    # Of five with finals 1 to 5 it beats one, a fifth, from the first point; tested from checkpoint 3.
    assert [text is not None for text in said] == [False, False, *[prunes] * 8]
    if prunes:
        where = "checkpoint 3 of 10 of A, seed 0: 30 steps, where its runs beat 20 % of the earlier trials"
        assert said[2] == where
    assert all(rule.objection("A", 0, line(2.5)[:end], {"A": []}) is None for end in range(1, 11))  # two fifths


def test_runs_are_paired_over_environments_and_seeds() -> None:
    others = [{"A": [line(1.0), line(9.0)], "B": [line(5.0), line(5.0)]}] * 5
    rule = PruningRule(6, 100, others)
    assert rule.objection("A", 0, line(2.0), {}) is None
    assert rule.objection("A", 1, line(2.0), {}) is not None
    assert rule.objection("B", 0, line(2.0), {}) is not None


def test_a_bad_run_among_good_ones_does_not_end_a_trial() -> None:
    rule = PruningRule(6, 100, [record(i, float(i), float(i), float(i)).curves for i in range(1, 6)])
    assert rule.objection("A", 1, line(0.5), {"A": [line(9.0)]}) is None  # (1 + 0) / 2
    assert rule.objection("A", 2, line(0.5), {"A": [line(1.5), line(2.5)]}) is not None  # (1 + 2 + 0) / 15
    # On any scale: what counts is how many are beaten.
    assert rule.objection("A", 1, line(-1e9), {"A": [line(1e9)]}) is None


def test_trials_that_were_pruned_are_beaten_as_far_as_they_came() -> None:
    cut = {"A": [line(9.0)[:4]]}
    others = [record(i, float(i)).curves for i in range(1, 5)]
    rule = PruningRule(6, 100, [*others, cut])
    assert rule.objection("A", 0, line(0.5)[:4], {}) is not None
    assert rule.objection("A", 0, line(0.5)[:5], {}) is None  # four are left, one too few


def test_audit_by_hand() -> None:
    trials = [record(i, float(i), float(i)) for i in range(1, 6)]
    trials += [record(6, 9.0, 9.0), record(7, 1.0, 9.0), record(8, 3.5, 1.0), record(9, 0.0, 10.0)]
    found = audit(trials, 100)
    assert found is not None
    # 7 equals one of six at checkpoint 3 of its first run, a twelfth. 8 beats four of the seven that came as far, then
    # goes on alone against the six of checkpoint 4 on (three of them: a half); its second run equals one of six:
    # (½ + 1/12) / 2. 9 beats none. 30, 130 and 30 of 200 steps.
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


def test_pruned_trials_count_with_a_reason_and_the_study_repeats(
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
