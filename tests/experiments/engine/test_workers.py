"""The coordinator and its worker processes, on SQLite and on PostgreSQL, killed and interrupted."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from sb3_ppo_variants.experiments.engine import workers
from sb3_ppo_variants.experiments.engine.ledger import RUN, Ledger
from sb3_ppo_variants.experiments.engine.status import RequestedRuns, RunStatus
from sb3_ppo_variants.experiments.engine.work import WorkerConfig
from sb3_ppo_variants.experiments.engine.workers import Crew, Interrupted, coordinate
from tests.experiments.engine.chaos import alive

MakeLedger = Callable[..., Ledger]
FAKES = "tests.experiments.fakes"


def make_runs(folder: Path, names: list[str], seconds: float = 0.0) -> dict[str, dict[str, Any]]:
    return {name: {"name": name, "log": str(folder / "log"), "seconds": seconds} for name in names}


def run_batch(
    ledger: Ledger,
    runs: dict[str, dict[str, Any]],
    folder: Path,
    execute: str = "quick",
    watch: workers.Watch = lambda statuses: None,
) -> dict[str, RunStatus]:
    requested = RequestedRuns(ledger, runs, mend_seconds=2.0)
    return coordinate(requested, 2, folder / "workers.log", watch, execute=f"{FAKES}:{execute}", poll=0.2)


def complete(ledger: Ledger) -> Counter[str]:
    return Counter(t.user_attrs[RUN] for t in ledger.trials(TrialState.COMPLETE))


def test_two_workers_claim_each_run_once(
    storage: str, make_ledger: MakeLedger, tmp_path: Path, pids: list[int]
) -> None:
    ledger = make_ledger(storage)
    runs = make_runs(tmp_path, [f"run{i}" for i in range(31)])
    statuses = run_batch(ledger, runs, tmp_path)
    assert {s.state for s in statuses.values()} == {"done"}
    assert complete(ledger) == Counter(runs.keys())
    written = Counter((tmp_path / "log").read_text().splitlines())
    assert written == Counter(f"{what} {name}" for name in runs for what in ("start", "end"))
    claims = {t.user_attrs["worker"]["name"] for t in ledger.trials(TrialState.COMPLETE)}
    assert len(pids) == 2
    assert len(claims) <= 2
    run_batch(ledger, runs, tmp_path)
    assert len(pids) == 2  # nothing left to do, nobody started


def test_killed_workers_are_replaced_and_their_runs_redone(
    storage: str, make_ledger: MakeLedger, tmp_path: Path, pids: list[int]
) -> None:
    chaos(storage, make_ledger, tmp_path, pids, names=8, kills=2)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again(
    storage: str, make_ledger: MakeLedger, tmp_path: Path, pids: list[int], seed: int
) -> None:
    random.seed(seed)
    chaos(storage, make_ledger, tmp_path, pids, names=20, kills=8)


def chaos(storage: str, make_ledger: MakeLedger, folder: Path, pids: list[int], names: int, kills: int) -> None:
    """Kill a random worker at random moments; each run must come out complete exactly once, but the one that fails."""
    ledger = make_ledger(storage)
    good = [f"run{i}" for i in range(names)]
    runs = make_runs(folder, ["raises", *good], seconds=0.3)
    done, killed = threading.Event(), []

    def kill() -> None:
        while len(killed) < kills and not done.wait(random.uniform(0.0, 0.4)):
            log = (folder / "log").read_text() if (folder / "log").exists() else ""
            if log.count("start") > (len(killed) + 1) * names / (kills + 2):  # spread over the work
                victim = random.choice([pid for pid in pids if alive(pid)] or [0])
                if victim:
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        statuses = run_batch(ledger, runs, folder, "troubled")
    finally:
        done.set()
        killer.join()
    assert killed
    assert {s.state for key, s in statuses.items() if key != "raises"} == {"done"}
    assert statuses["raises"].reason == "RuntimeError: the reason"
    assert "Traceback" in (folder / "workers.log").read_text()
    assert complete(ledger) == Counter(good)
    assert not ledger.trials(TrialState.RUNNING, TrialState.WAITING)


@pytest.mark.long
def test_run_that_kills_its_worker_is_given_up(make_ledger: MakeLedger, tmp_path: Path, pids: list[int]) -> None:
    ledger = make_ledger()
    statuses = run_batch(ledger, make_runs(tmp_path, ["dies", "a", "bb"]), tmp_path, "troubled")
    assert {key: s.state for key, s in statuses.items()} == {"dies": "failed", "a": "done", "bb": "done"}
    assert "its process died 4 times" in str(statuses["dies"].reason)
    assert len(pids) <= 7


def test_workers_that_cannot_start_end_the_command(
    make_ledger: MakeLedger, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.01)
    with pytest.raises(ChildProcessError, match=r"worker processes died in a row; see their output in .*workers\.log"):
        run_batch(make_ledger(), make_runs(tmp_path, ["a"]), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_noted_and_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with workers._signals_noted() as asked:
        os.kill(os.getpid(), number)
        assert asked == [number]
    assert signal.getsignal(number) is before


def test_interrupted_command_frees_its_runs_at_once(make_ledger: MakeLedger, tmp_path: Path, pids: list[int]) -> None:
    ledger = make_ledger()
    runs = make_runs(tmp_path, ["a", "bb", "ccc"], seconds=0.1)
    runs["ccc"]["seconds"] = 60.0

    def watch(statuses: Mapping[str, RunStatus]) -> None:
        if statuses["a"].state == statuses["bb"].state == "done" and statuses["ccc"].state == "running":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="interrupted with 2 of 3 runs done; rerun the command to resume"):
        run_batch(ledger, runs, tmp_path, watch=watch)
    assert complete(ledger) == Counter(["a", "bb"])
    assert not ledger.trials(TrialState.RUNNING)
    waiting = ledger.trials(TrialState.WAITING)
    assert [t.user_attrs[RUN] for t in waiting] == ["ccc"]


def test_worker_that_does_not_listen_is_killed_and_its_run_freed(
    make_ledger: MakeLedger, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.5)
    ledger = make_ledger()
    asked = time.monotonic()

    def watch(statuses: Mapping[str, RunStatus]) -> None:
        nonlocal asked
        if statuses["deaf"].state == "running":
            asked = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run_batch(ledger, make_runs(tmp_path, ["deaf"]), tmp_path, "troubled", watch)
    assert time.monotonic() - asked < 10
    assert [t.state for t in ledger.trials()] == [TrialState.FAIL]


def test_worker_whose_coordinator_is_gone_stops(make_ledger: MakeLedger, tmp_path: Path) -> None:
    ledger = make_ledger()
    ledger.fill(make_runs(tmp_path, ["a"], seconds=60.0))
    # Not its parent's id: as if that one were gone.
    crew = Crew(WorkerConfig(ledger.url, ledger.name, 1, 2, f"{FAKES}:quick", parent=1), tmp_path / "workers.log")
    crew.start()
    process = crew._processes[0]
    assert process.wait(30) == 0
    assert not ledger.trials(TrialState.RUNNING, TrialState.COMPLETE)
