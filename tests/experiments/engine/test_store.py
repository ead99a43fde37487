"""What a store keeps of runs, and what it makes of ledgers of the earlier queue."""

from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, REASON, RESULT, RUN, held_by_others, open_store
from sb3_ppo_variants.experiments.runs.run import Run
from tests.experiments.fakes import make_result, make_run


def test_runs_come_back_as_they_were(storage: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run, other, third = make_run("a"), make_run("bb"), make_run("ccc")
    result = make_result(0.1 + 0.2, versions={"torch": "1"}, seconds=1 / 3)
    url = storage_url(storage, tmp_path)
    with open_store(url, request.node.name) as store:
        assert store.records([run]) == [Record(run, "missing")]
        store.add(Record(other, "failed", reason="env: RuntimeError: x"))
        store.add(Record(run, "done", result, imported_from="there"))
    with open_store(url, request.node.name, write=False) as store:
        assert store.records([third, run, other]) == [
            Record(third, "missing"),
            Record(run, "done", result, imported_from="there"),
            Record(other, "failed", reason="env: RuntimeError: x"),
        ]
        assert {r.run.key() for r in store.all_records()} == {run.key(), other.key()}
        assert [t.state.name for t in store.trials()] == ["FAIL", "COMPLETE"]
        assert store.trials()[1].value == result.final_return


def test_of_equal_keys_the_first_that_is_done_counts(tmp_path: Path) -> None:
    run = make_run("a")
    with open_store(storage_url(None, tmp_path), "study") as store:
        for record in (
            Record(run, "failed", reason="env: first"),
            Record(run, "failed", reason="env: second"),
        ):
            store.add(record)
        assert store.records([run])[0].reason == "env: second"
        store.add(Record(run, "done", make_result(1.0)))
        store.add(Record(run, "done", make_result(2.0)))
        store.add(Record(run, "failed", reason="env: third"))
        assert store.records([run])[0].result == make_result(1.0)


def test_a_command_that_has_only_imported_yet_can_be_begun_again(tmp_path: Path) -> None:
    name, run, imported, own = tmp_path.name, make_run("a"), make_run("bb"), make_run("ccc")
    with open_store(storage_url(None, tmp_path), name) as store:
        store.add(Record(imported, "done", make_result(1.0), imported_from="there"))
    assert held_by_others(tmp_path, None, [run], "others") is None
    # Once it has reported, its report would be replaced.
    (tmp_path / "runs.csv").touch()
    assert held_by_others(tmp_path, None, [run], "others") == "others"
    assert held_by_others(tmp_path, None, [imported], "others") is None
    (tmp_path / "runs.csv").unlink()
    with open_store(storage_url(None, tmp_path), name) as store:
        store.add(Record(own, "done", make_result(1.0)))
    assert held_by_others(tmp_path, None, [run], "others") == "others"
    assert held_by_others(tmp_path, None, [imported], "others") is None


def test_what_the_queue_of_earlier_versions_left_is_not_a_run(tmp_path: Path) -> None:
    """Trials that waited, ran, were lost, were pruned as surplus, or copied the reason of a lost one."""
    run = Run("sb3:ppo", "CartPole-v1", 0, 128)
    attributes = {RUN: run.key(), DESCRIPTION: run.description()}
    with open_store(storage_url(None, tmp_path), "study") as store:
        for state in (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL, TrialState.PRUNED):
            store.study.add_trial(create_trial(state=state, user_attrs=attributes))
        copied = {"text": "of trial 1", "trial": 1}
        store.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={**attributes, REASON: copied}))
        assert store.records([run]) == [Record(run, "missing")]
        kept = {**attributes, RESULT: make_result(7.0).to_json()}
        store.study.add_trial(create_trial(value=7.0, user_attrs=kept))
        assert store.records([run]) == [Record(run, "done", make_result(7.0))]
