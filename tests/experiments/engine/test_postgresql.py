"""Tuning studies on a real PostgreSQL server, worked on by ``ppo-variants worker`` processes, some of them killed."""

import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sb3_ppo_variants.experiments.engine.ledger import FOLLOWED_BY, RUN, SUFFIX, Ledger, claimed_by, open_ledger
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.work import WorkerConfig, join_with_sequel
from sb3_ppo_variants.experiments.tuning.trials import read_trials
from tests.experiments.engine.chaos import Killer, alive, check
from tests.experiments.tuning.fake_trials import begin, cheap_plan

StartWorker = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def study(postgresql: str) -> str:
    """A name that no other test has: they share the database."""
    return f"study-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def ledger(postgresql: str, study: str) -> Iterator[Ledger]:
    with open_ledger(storage_url(postgresql, Path()), study, create=True) as opened:
        yield opened


@pytest.fixture
def start_worker(postgresql: str, study: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts ``ppo-variants worker`` with nothing but storage and study name."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sb3_ppo_variants", "worker", "--storage", postgresql, "--study", study]
        log = (tmp_path / f"worker{len(started)}.log").open("w")
        with log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_two_workers_one_of_them_killed(ledger: Ledger, start_worker: StartWorker, tmp_path: Path) -> None:
    plan = cheap_plan(timesteps=300)
    begin(ledger, plan, 6)
    first, second = start_worker(), start_worker()
    names = [f":{process.pid}" for process in (first, second)]
    while not any(str(claimed_by(t)).endswith(names[0]) and t.params for t in ledger.trials(TrialState.RUNNING)):
        assert first.poll() is None, (tmp_path / "worker0.log").read_text()
        time.sleep(0.05)
    finished = {t.number for t in ledger.trials(TrialState.COMPLETE)}
    first.kill()
    first.wait()  # a zombie would still count as alive
    assert second.wait(120) == 0, (tmp_path / "worker1.log").read_text()
    interrupted = check(ledger, plan, 6, finished)
    assert sum(interrupted.values()) == 1
    # A worker on the same machine sees at once that the other is dead, and does its trial.
    again = next(t for t in ledger.trials(TrialState.COMPLETE) if t.user_attrs[RUN] in interrupted)
    assert str(claimed_by(again)).endswith(names[1])
    assert "runs done here; nothing is left to do" in (tmp_path / "worker1.log").read_text()


@pytest.mark.long
def test_ten_kills(ledger: Ledger, start_worker: StartWorker, postgresql: str) -> None:
    random.seed(0)
    trials, plan = 24, cheap_plan(timesteps=400, sampler="tpe")
    begin(ledger, plan, trials)
    processes = [start_worker(), start_worker()]

    def reopened() -> Ledger:
        return open_ledger(ledger.url, ledger.name, create=False)

    with Killer(reopened, 10, trials, lambda: [p.pid for p in processes if p.poll() is None]) as killer:
        while ledger.trials(TrialState.WAITING, TrialState.RUNNING):
            processes += [start_worker() for p in processes[-2:] if p.poll() not in (None, 0)]
            if not any(p.poll() is None for p in processes):
                processes.append(start_worker())
            time.sleep(0.2)
    assert len(killer.killed) == 10
    assert len({pid for pid in killer.killed if not alive(pid)}) == 10
    assert check(ledger, plan, trials, killer.seen_finished)


def test_a_worker_goes_on_with_the_confirmation(ledger: Ledger) -> None:
    begin(ledger, cheap_plan(), 2)
    ledger.keep(FOLLOWED_BY, ledger.name + SUFFIX)
    run = {"algorithm": "sb3:ppo", "environment": "CartPole-v1", "timesteps": 64, "n_envs": 1, "seed": 0}
    with open_ledger(ledger.url, ledger.name + SUFFIX, create=True) as confirmation:
        confirmation.fill({"x": {**run, "settings": {"n_steps": 64, "n_epochs": 1}}})
        config = WorkerConfig(ledger.url, ledger.name, ledger.heartbeat, ledger.grace)
        assert join_with_sequel(config, lambda: False, patience=5) == 3
        assert [t.state for t in confirmation.trials()] == [TrialState.COMPLETE]
    assert join_with_sequel(config, lambda: False, patience=0.1) == 0
    assert [t.state for t in read_trials(ledger, cheap_plan())] == ["done", "done"]
