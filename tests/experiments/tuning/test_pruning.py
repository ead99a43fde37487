"""Pruning and its audit, by hand and on the committed studies."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.pruning import audit, objection
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord
from tests.experiments.in_process import InProcess
from tests.experiments.tuning.fake_trials import cheap, cheap_plan, do_trials
from tests.forms import long

STUDIES = Path(__file__).parents[3] / "zoo_configs" / "results" / "tuning"
ONE = cheap_plan(environments=("A",), seeds=2)
TWO = cheap_plan(
    environments=("A", "B"), seeds=2, aggregation="normalised", references={"A": (0.0, 10.0), "B": (0.0, 1000.0)}
)


def record(number: int, *returns: float) -> TrialRecord:
    score = sum(returns) / len(returns)
    return TrialRecord(number, number, "done", {}, {}, {"A": returns}, score, None, 1.0, None, {}, {})


def committed(name: str) -> tuple[StudyPlan, list[TrialRecord]]:
    study = json.loads((STUDIES / name / "study.json").read_text(encoding="utf-8"))
    return StudyPlan.from_json(study["plan"]), [TrialRecord(**trial) for trial in study["trials"]]


def in_order(trials: Sequence[TrialRecord], order: Sequence[int]) -> list[TrialRecord]:
    return [dataclasses.replace(trials[old], number=new) for new, old in enumerate(order)]


@pytest.mark.parametrize(("number", "prunes"), [(0, False), (5, False), (6, True)])
def test_the_defaults_and_the_five_after_them_are_never_pruned(number: int, prunes: bool) -> None:
    earlier = [{"A": [float(i), float(i)]} for i in range(1, 6)]
    # Of five with returns 1 to 5 it beats one, a fifth.
    said = objection(number, {"A": [1.5]}, earlier, ONE)
    assert said == ("pruned after 1 of 2 runs: it beats 20 % of 5 earlier trials" if prunes else None)


def test_a_trial_goes_on_that_beats_two_fifths_of_at_least_five() -> None:
    earlier = [{"A": [float(i), float(i)]} for i in range(1, 6)]
    assert objection(6, {"A": [2.5]}, earlier, ONE) is None  # two of five
    assert objection(6, {"A": [2.0]}, earlier, ONE) is not None  # one and, of equals, half
    assert objection(6, {"A": [0.0]}, earlier[:4], ONE) is None
    assert objection(6, {"A": []}, earlier, ONE) is None
    assert objection(6, {}, earlier, ONE) is None
    assert objection(6, {"A": [0.0, 0.0]}, earlier, ONE) is None  # it has finished


def test_a_score_so_far_is_compared_on_the_same_seeds_once_every_environment_has_a_run() -> None:
    earlier = [{"A": [float(i), 99.0], "B": [100.0 * i, 99.0]} for i in range(1, 6)]  # so far 0.1 to 0.5
    assert objection(6, {"A": [-99.0], "B": []}, earlier, TWO) is None
    # (0.00 + 0.52) / 2 = 0.26 beats 0.1 and 0.2; (0.00 + 0.38) / 2 = 0.19 beats 0.1.
    assert objection(6, {"A": [0.0], "B": [520.0]}, earlier, TWO) is None
    said = objection(6, {"A": [0.0], "B": [380.0]}, earlier, TWO)
    assert said == "pruned after 2 of 4 runs: it beats 20 % of 5 earlier trials"
    # With A's second seed the others' scores so far are above 2.5.
    said = objection(6, {"A": [0.0, 0.0], "B": [380.0]}, earlier, TWO)
    assert said == "pruned after 3 of 4 runs: it beats 0 % of 5 earlier trials"


def test_ranks_need_no_common_scale() -> None:
    plan = dataclasses.replace(TWO, aggregation="ranks", references={})
    earlier = [{"A": [float(i)], "B": [1e6 * i]} for i in range(1, 7)]
    # Shares among seven: the trial has (5/6 + 0) / 2, which beats the three with the lowest shares.
    assert objection(6, {"A": [5.5], "B": [0.0]}, earlier, plan) is None
    # (1/6 + 1/6) / 2 beats one of six.
    said = objection(6, {"A": [1.5], "B": [1.5e6]}, earlier, plan)
    assert said == "pruned after 2 of 4 runs: it beats 17 % of 6 earlier trials"


def test_trials_that_were_pruned_are_beaten_as_far_as_they_came() -> None:
    whole = [{"A": [float(i)], "B": [0.0]} for i in range(1, 5)]
    pruned = {"A": [9.0], "B": []}
    assert objection(6, {"A": [0.0], "B": [0.0]}, [*whole, pruned], TWO) is None  # four are left, one too few
    assert objection(6, {"A": [0.0], "B": [0.0]}, [*whole, {"A": [9.0], "B": [0.0]}], TWO) is not None
    assert objection(6, {"A": [0.0], "B": [0.0]}, [*whole, {}, {"A": [9.0]}], TWO) is None  # failed, or another space


def test_audit_by_hand() -> None:
    trials = [record(i, float(i), float(i)) for i in range(1, 6)]
    trials += [record(6, 9.0, 9.0), record(7, 1.0, 9.0), record(8, 3.5, 1.0), record(9, 0.0, 10.0)]
    found = audit(trials, ONE)
    assert found is not None
    # 7 equals one of six, a twelfth; 8 beats four of seven (1, 1, 2, 3); 9 beats none of eight.
    assert found.pruned == [7, 9]
    assert found.steps_saved == pytest.approx((0.5 + 0.5) / 9)
    assert not found.best_lost
    assert found.best_survivor_rank == 1
    lost = audit([*trials[:6], record(7, 1.0, 100.0)], ONE)
    assert lost is not None
    assert lost.best_lost
    assert lost.best_survivor_rank == 2
    assert lost.trials == 7


def test_audit_leaves_out_what_did_not_run_to_the_end() -> None:
    assert audit([], ONE) is None
    pruned = dataclasses.replace(record(7, 0.0), state="pruned", score=None)
    reused = dataclasses.replace(record(8, 0.0, 0.0), reused=1)
    found = audit([*(record(i, float(i), float(i)) for i in range(6)), pruned, reused], ONE)
    assert found is not None
    assert (found.trials, found.pruned, found.steps_saved) == (6, [], 0.0)


@pytest.mark.parametrize(
    ("name", "pruned", "saved"),
    [
        ("clip_ppo-tpe", [6, 7, 9, 10, 11, 13, 14, 20, 24, 29, 31, 39], 110 / 600),
        ("kl_penalty_ppo-tpe", [*range(6, 11), 12, *range(14, 21), 24, 25, 27, 29, 31, 34, 35], 160 / 600),
    ],
)
def test_the_committed_studies(name: str, pruned: list[int], saved: float) -> None:
    plan, records = committed(name)
    found = audit(records, plan)
    assert found is not None
    assert (found.trials, found.pruned) == (40, pruned)
    assert found.steps_saved == pytest.approx(saved)
    assert not found.best_lost


@pytest.mark.parametrize("orders", [3, long(200)])
@pytest.mark.parametrize("name", ["clip_ppo-tpe", "kl_penalty_ppo-tpe"])
def test_the_committed_studies_in_random_orders_keep_their_best(name: str, orders: int) -> None:
    plan, records = committed(name)
    rng = np.random.default_rng(0)
    shuffled = [in_order(records, [0, *(1 + rng.permutation(len(records) - 1))]) for _ in range(orders)]
    found = [audit(trials, plan) for trials in shuffled]
    assert not any(a is None or a.best_lost for a in found)
    mean = np.mean([a.steps_saved for a in found if a is not None])
    assert mean == pytest.approx(0.34, abs=0.005 if orders == 200 else 0.12)


@pytest.mark.long
def test_pruned_trials_count_with_a_reason_and_the_study_repeats(tmp_path: Path) -> None:
    plan, studies = cheap_plan(pruning=True, sampler="tpe", timesteps=10), []
    for name in "ab":
        executor = InProcess(cheap)
        records = do_trials(tmp_path / name, plan, 20, executor)
        studies.append([(t.values, t.state, t.reason, t.returns) for t in records])
        assert len(executor.tasks) == 40 - sum(t.state == "pruned" for t in records)
    assert studies[0] == studies[1]
    states = [state for _, state, _, _ in studies[0]]
    assert len(states) == 20
    assert states[:6] == ["done"] * 6
    assert {"done", "pruned"} == set(states)
    for _, state, reason, returns in studies[0]:
        if state == "pruned":
            assert str(reason).startswith("pruned after 1 of 2 runs: it beats ")
            assert len(returns["CartPole-v1"]) == 1


@pytest.mark.long
def test_audit_agrees_with_what_pruning_does(tmp_path: Path) -> None:
    """Random search proposes the same whatever is pruned: so the audit of the one is the other."""
    plans = {pruning: cheap_plan(pruning=pruning, timesteps=10) for pruning in (False, True)}
    found = {pruning: do_trials(tmp_path / str(pruning), plan, 16) for pruning, plan in plans.items()}
    audited = audit(found[False], plans[False])
    assert audited is not None
    assert audited.pruned == [t.number for t in found[True] if t.state == "pruned"]
    assert audited.pruned
