"""Tuning studies on SQLite whose workers are killed -9 and whose command is interrupted."""

import os
import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sb3_ppo_variants.experiments.engine import workers
from sb3_ppo_variants.experiments.engine.ledger import Ledger
from sb3_ppo_variants.experiments.engine.status import RunStatus
from sb3_ppo_variants.experiments.engine.workers import Interrupted, coordinate
from sb3_ppo_variants.experiments.tuning.trials import read_trials, trial_key
from tests.experiments.engine.chaos import Killer, check, run_crew
from tests.experiments.tuning.fake_trials import begin, cheap_plan

MakeLedger = Callable[..., Ledger]


def chaos(make_ledger: MakeLedger, folder: Path, pids: list[int], trials: int, kills: int, sampler: str) -> None:
    ledger, plan = make_ledger(), cheap_plan(timesteps=300, seeds=2, sampler=sampler)
    with Killer(make_ledger, kills, trials, lambda: pids) as killer:
        run_crew(ledger, plan, trials, folder)
    assert len(killer.killed) == kills
    interrupted = check(ledger, plan, trials, killer.seen_finished)
    assert interrupted


def test_killed_workers_lose_nothing(make_ledger: MakeLedger, tmp_path: Path, pids: list[int]) -> None:
    random.seed(0)
    chaos(make_ledger, tmp_path, pids, trials=8, kills=3, sampler="random")


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_hundred_kills_lose_nothing(make_ledger: MakeLedger, tmp_path: Path, pids: list[int], sampler: str) -> None:
    random.seed(1)
    chaos(make_ledger, tmp_path, pids, trials=120, kills=100, sampler=sampler)


def test_an_interrupted_study_keeps_the_parameters_of_what_was_under_way(
    make_ledger: MakeLedger, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine the coordinator would look so seldom that it finds all trials done.
    monkeypatch.setattr(workers, "LONGEST_LOOK_SECONDS", 0.2)
    ledger, plan = make_ledger(), cheap_plan(timesteps=2000, seeds=1)
    requested = begin(ledger, plan, 4)

    def watch(statuses: Mapping[str, RunStatus]) -> None:
        first, second = (statuses[trial_key(number)] for number in (0, 1))
        if first.state == "done" and second.state != "waiting":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="of 4 runs done; rerun the command to resume"):
        coordinate(requested, 1, tmp_path / "workers.log", watch, poll=0.2)
    assert not ledger.trials(TrialState.RUNNING)
    finished = {t.number for t in ledger.trials(TrialState.COMPLETE)}
    run_crew(ledger, plan, 4, tmp_path, jobs=1)
    check(ledger, plan, 4, finished)
    assert len(read_trials(ledger, plan)) == 4
