"""Kill -9 on the workers of a tuning study, and what must hold afterwards."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import RUN, Ledger, claimed_by, open_ledger, reason
from sb3_ppo_variants.experiments.engine.status import RunStatus
from sb3_ppo_variants.experiments.engine.storage import MAX_RETRIES
from sb3_ppo_variants.experiments.engine.workers import coordinate
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import read_trials, trial_key


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Killer:
    """Kills a random worker in the middle of a trial, spread over the work, until it has killed so many.

    A trial that was lost four times in a row is given up (its own fault, as far as anybody can tell): so no trial is
    hit more than three times. A worker that has no trial may be hit, too, half of the time.

    :param ledger: Opened for this thread
    :param kills: How many
    :param trials: How many trials the study has
    :param pids: The workers that may be killed, as they come and go
    """

    def __init__(self, ledger: Callable[[], Ledger], kills: int, trials: int, pids: Callable[[], list[int]]):
        self.open, self.kills, self.trials, self.pids = ledger, kills, trials, pids
        self.killed: list[int] = []
        self.seen_finished: set[int] = set()
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._kill)
        self._hits: Counter[str] = Counter()

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    def _kill(self) -> None:
        with self.open() as ledger:
            while len(self.killed) < self.kills and not self.over.wait(random.uniform(0.0, 0.3)):
                trials = ledger.trials()
                self.seen_finished |= {t.number for t in trials if t.state == TrialState.COMPLETE}
                if len(self.killed) <= len(self.seen_finished) * self.kills / (0.8 * self.trials):
                    self._hit(random.choice([pid for pid in self.pids() if alive(pid)] or [0]), trials)

    def _hit(self, pid: int, trials: list[FrozenTrial]) -> None:
        running = [t for t in trials if t.state == TrialState.RUNNING and str(claimed_by(t)).endswith(f":{pid}")]
        keys = [t.user_attrs[RUN] for t in running]
        if pid == 0 or (not keys and random.random() < 0.5) or any(self._hits[k] == MAX_RETRIES for k in keys):
            return
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)
        self._hits.update(keys)


def run_crew(ledger: Ledger, plan: StudyPlan, trials: int, folder: Path, jobs: int = 2) -> dict[str, RunStatus]:
    """What the command does with its workers."""
    from tests.experiments.tuning.fake_trials import begin

    requested = begin(ledger, plan, trials)
    return coordinate(requested, jobs, folder / "workers.log", lambda _: None, poll=0.2)


def check(ledger: Ledger, plan: StudyPlan, trials: int, finished: set[int]) -> Mapping[str, int]:
    """Nothing finished is lost, the study opens, what was interrupted was done again as it was, the budget holds.

    :return: How often each trial was interrupted
    """
    with open_ledger(ledger.url, ledger.name, create=False) as again:
        kept = again.trials()
        records = read_trials(again, plan)
    complete = Counter(t.user_attrs[RUN] for t in kept if t.state == TrialState.COMPLETE)
    assert complete == Counter(trial_key(number) for number in range(trials))
    assert all(kept[number].state == TrialState.COMPLETE for number in finished)
    assert not [t for t in kept if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert [(r.number, r.state) for r in records] == [(number, "done") for number in range(trials)]
    by_key = {t.user_attrs[RUN]: t for t in kept if t.state == TrialState.COMPLETE}
    lost = [t for t in kept if t.state == TrialState.FAIL]
    for trial in lost:
        assert reason(trial) is None
        assert trial.params.items() <= by_key[trial.user_attrs[RUN]].params.items()
    return Counter(t.user_attrs[RUN] for t in lost)
