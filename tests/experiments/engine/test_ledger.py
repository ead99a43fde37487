"""The ledger and one worker, in this process: each way in which a run could get lost or done twice."""

import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sb3_ppo_variants.experiments.engine.ledger import (
    CLAIM,
    DESCRIPTION,
    REASON,
    RUN,
    Ledger,
    claimed_by,
    reason,
    worker_name,
)
from sb3_ppo_variants.experiments.engine.status import RequestedRuns
from sb3_ppo_variants.experiments.engine.work import RESULT, Execute, Stopped, Worker, WorkerConfig
from sb3_ppo_variants.experiments.runs.run import OnProgress
from tests.experiments.fakes import quick, troubled

MakeLedger = Callable[..., Ledger]


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {name: {"name": name, "log": str(tmp_path / "log")} for name in ("a", "bb", "ccc")}


def work(ledger: Ledger, execute: Execute = quick, stop: Callable[[], bool] = lambda: False, **config: Any) -> Worker:
    worker = Worker(ledger, execute, stop, WorkerConfig(ledger.url, ledger.name, 1, 2, poll=0.1, **config))
    worker.work()
    return worker


def counts(ledger: Ledger) -> dict[str, int]:
    """How often each run is complete."""
    done = [t.user_attrs[RUN] for t in ledger.trials(TrialState.COMPLETE)]
    return {key: done.count(key) for key in sorted(set(done))}


def start_without_claim(ledger: Ledger) -> FrozenTrial:
    """What a process leaves that is killed between Optuna's claim and its first heartbeat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna: asking outside optimize() has no heartbeat. That is the point.
        number = ledger.study.ask().number
    return ledger.trials()[number]


def test_fill_twice_changes_nothing(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    ledger.fill(runs)
    make_ledger().fill(runs)
    assert [t.user_attrs[RUN] for t in ledger.trials()] == ["a", "bb", "ccc"]
    assert work(ledger).done == 3
    ledger.fill(runs)
    assert len(ledger.trials()) == 3


def test_work_keeps_score_and_result(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    work(ledger)
    assert [t.value for t in ledger.trials()] == [1.0, 2.0, 3.0]
    assert ledger.trials()[1].user_attrs[RESULT] == {"name": "bb"}
    assert claimed_by(ledger.trials()[1]) == worker_name()


def test_failure_is_kept_with_its_reason_and_stops_nobody(make_ledger: MakeLedger, tmp_path: Path) -> None:
    ledger = make_ledger()
    runs = {name: {"name": name, "log": str(tmp_path / "log")} for name in ("raises", "nan", "fine")}
    requested = RequestedRuns(ledger, runs)
    requested.fill()
    work(ledger, troubled)
    statuses = requested.statuses()
    assert {key: s.state for key, s in statuses.items()} == {"raises": "failed", "nan": "failed", "fine": "done"}
    assert statuses["raises"].reason == "RuntimeError: the reason"
    assert statuses["nan"].reason == "ValueError: The score is nan, not a finite number"
    requested.fill()  # rerunning the command tries failed runs again
    again = RequestedRuns(ledger, runs)
    assert {key: s.state for key, s in again.statuses().items()} == {
        "raises": "waiting",
        "nan": "waiting",
        "fine": "done",
    }


def test_late_tell_of_a_process_taken_for_dead(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    """Suspended for longer than the grace time, it resumes when another process has done its run."""
    ledger, other = make_ledger(), make_ledger()

    def execute(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
        if description["name"] == "a" and "a" not in counts(other):
            other.redo(other.trials(TrialState.RUNNING)[0])
            work(other)
        return quick(description, report)

    ledger.fill(runs)
    work(ledger, execute)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert [t.state for t in ledger.trials()].count(TrialState.FAIL) == 1


@pytest.mark.parametrize("report_too", [False, True])
def test_late_failure_of_a_process_taken_for_dead(
    make_ledger: MakeLedger, runs: dict[str, Any], report_too: bool
) -> None:
    ledger, other = make_ledger(), make_ledger()

    def execute(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
        if description["name"] == "a" and not other.trials(TrialState.FAIL):
            other.redo(other.trials(TrialState.RUNNING)[0])
            if report_too:
                report(1, 0.0)
            raise RuntimeError("late")
        return quick(description, report)

    ledger.fill(runs)
    work(ledger, execute)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert all(reason(t) is None for t in ledger.trials())


def test_killed_between_claim_and_first_heartbeat(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    dead = start_without_claim(ledger)
    assert claimed_by(dead) is None
    start = time.monotonic()
    work(ledger)
    assert time.monotonic() - start > ledger.grace
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert ledger.trials()[dead.number].state == TrialState.FAIL


def test_copied_claim_does_not_count(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    """Optuna copies the attributes when it retries a stale trial; then that one's process is killed early, too."""
    ledger = make_ledger()
    claim = {"name": "elsewhere:1", "trial": 7}
    attributes = {RUN: "a", DESCRIPTION: runs["a"], CLAIM: claim, REASON: {"text": "old", "trial": 7}}
    ledger.study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attributes))
    dead = start_without_claim(ledger)
    assert claimed_by(dead) is None
    assert reason(dead) is None
    work(ledger)
    assert counts(ledger) == {"a": 1}


def test_stale_heartbeat(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    """A process on another machine that stopped giving signs of life."""
    ledger = make_ledger()
    ledger.fill(runs)
    dead = start_without_claim(ledger)
    ledger.study._storage.set_trial_user_attr(dead._trial_id, CLAIM, {"name": "elsewhere/1:1", "trial": dead.number})
    ledger.study._storage.record_heartbeat(dead._trial_id)  # type: ignore[attr-defined]
    work(ledger)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert ledger.trials()[dead.number].state == TrialState.FAIL


def test_dead_process_on_this_machine_is_seen_at_once(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    process = subprocess.Popen(["true"])
    dead = start_without_claim(ledger)
    claim = {"name": worker_name(process.pid), "trial": dead.number}
    ledger.study._storage.set_trial_user_attr(dead._trial_id, CLAIM, claim)
    process.wait()
    start = time.monotonic()
    ledger.rescue()
    assert time.monotonic() - start < ledger.grace
    assert [t.state.name for t in ledger.trials()] == ["FAIL", "WAITING", "WAITING", "WAITING"]
    work(ledger)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}


def test_killed_between_failure_and_retry(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    requested = RequestedRuns(ledger, runs, mend_seconds=0.2)
    requested.fill()
    assert ledger.release(start_without_claim(ledger))
    assert requested.statuses()["a"].state == "missing"
    requested.mend(requested.statuses())
    assert requested.statuses()["a"].state == "missing"  # another process may be about to enqueue it
    time.sleep(0.3)
    requested.mend(requested.statuses())
    requested.mend(requested.statuses())
    assert requested.statuses()["a"].state == "waiting"
    work(ledger)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}


def test_run_whose_process_always_dies_is_given_up(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    requested = RequestedRuns(ledger, {"a": runs["a"]})
    requested.fill()
    for _ in range(4):
        assert requested.statuses()["a"].state == "waiting"
        ledger.redo(start_without_claim(ledger))
    status = requested.statuses()["a"]
    assert status.state == "failed"
    assert "its process died 4 times" in str(status.reason)
    assert RequestedRuns(ledger, {"a": runs["a"]}).statuses()["a"].state == "missing"  # the next command starts afresh


def test_failing_a_trial_twice_enqueues_once(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    dead = start_without_claim(ledger)
    make_ledger().redo(dead)
    ledger.redo(dead)
    assert [t.state.name for t in ledger.trials()] == ["FAIL", "WAITING", "WAITING", "WAITING"]


def test_lost_race_for_the_last_waiting_trial(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    """Optuna makes a new trial for the loser: it is a surplus, and nothing counts it."""
    ledger = make_ledger()
    requested = RequestedRuns(ledger, runs)
    requested.fill()
    ledger.study.optimize(
        Worker(ledger, quick, lambda: False, WorkerConfig(ledger.url, ledger.name, 1, 2))._objective, n_trials=5
    )
    assert [t.state.name for t in ledger.trials()] == ["COMPLETE"] * 3 + ["PRUNED"] * 2
    assert {s.state for s in requested.statuses().values()} == {"done"}


def test_two_commands_filling_at_once(make_ledger: MakeLedger, runs: dict[str, Any], tmp_path: Path) -> None:
    ledger = make_ledger()
    for _ in range(2):
        for key, description in runs.items():
            ledger.enqueue(key, description)
    work(ledger)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert (tmp_path / "log").read_text().count("start") == 3


def test_left_over_runs_of_an_abandoned_command_are_not_done(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    abandoned = RequestedRuns(ledger, {"a": runs["a"], "bb": runs["bb"]}, mend_seconds=0.0)
    abandoned.fill()
    requested = RequestedRuns(ledger, {"bb": runs["bb"], "ccc": runs["ccc"]})
    requested.fill()
    work(ledger, wanted=tuple(requested.runs), first=requested.first)
    assert counts(ledger) == {"bb": 1, "ccc": 1}
    # Is that command alive after all, it puts them back, and then they are done for it.
    abandoned.mend(abandoned.statuses())
    abandoned.mend(abandoned.statuses())
    work(ledger, wanted=tuple(requested.runs), first=requested.first)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}


def test_stopped_worker_puts_its_run_back(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()
    ledger.fill(runs)
    asked = []

    def execute(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
        if description["name"] == "bb":
            asked.append(True)
        report(1, 0.0)
        return quick(description, report)

    work(ledger, execute, lambda: bool(asked))
    assert counts(ledger) == {"a": 1}
    assert [t.state.name for t in ledger.trials()] == ["COMPLETE", "FAIL", "WAITING", "WAITING"]
    work(ledger)
    assert counts(ledger) == {"a": 1, "bb": 1, "ccc": 1}
    assert issubclass(Stopped, KeyboardInterrupt)


def test_progress_is_reported_seldom(make_ledger: MakeLedger, runs: dict[str, Any]) -> None:
    ledger = make_ledger()

    def execute(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
        for step in range(1000):
            report(step, float("nan") if step == 0 else 1.0)
        return 1.0, {}

    ledger.fill({"a": runs["a"]})
    work(ledger, execute)
    assert len(ledger.trials()[0].intermediate_values) <= 2
