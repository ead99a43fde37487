"""The runs that one command requested, and the status of each in the ledger."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import RUN, Ledger, reason
from sb3_ppo_variants.experiments.engine.storage import MAX_RETRIES

State = Literal["done", "failed", "pruned", "running", "waiting", "missing"]
SETTLED: tuple[State, ...] = ("done", "failed", "pruned")

# A lost run is enqueued again only after this long: whoever failed its trial may be about to enqueue it.
MEND_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    :param state: ``"missing"`` means lost and not enqueued again yet
    :param trial: The trial that determines the state
    :param reason: Why the run failed
    """

    state: State
    trial: FrozenTrial | None = None
    reason: str | None = None


class RequestedRuns:
    """The runs that one command requested.

    :param ledger: The ledger that keeps them; it may hold other runs too
    :param runs: Key → description
    :param mend_seconds: See :data:`MEND_SECONDS`
    """

    def __init__(self, ledger: Ledger, runs: Mapping[str, Mapping[str, Any]], mend_seconds: float = MEND_SECONDS):
        self.ledger, self.runs, self.mend_seconds = ledger, dict(runs), mend_seconds
        before = ledger.trials()
        self.first = len(before)
        # Failures of earlier commands do not count: rerunning the command tries those runs again.
        self._old = {t.number for t in before if t.state == TrialState.FAIL and not ledger.is_settled(t)}
        self._missing_since: dict[str, float] = {}

    def fill(self) -> None:
        """Enqueue the runs that are neither done nor under way."""
        self.ledger.fill(self.runs)

    def statuses(self) -> dict[str, RunStatus]:
        """The current status of each run; if a run has several trials, the best one counts."""
        by_key: dict[str, list[FrozenTrial]] = {key: [] for key in self.runs}
        for trial in self.ledger.trials():
            if (key := trial.user_attrs.get(RUN)) in by_key and trial.number not in self._old:
                by_key[key].append(trial)
        return {key: self._status(trials) for key, trials in by_key.items()}

    def _status(self, trials: list[FrozenTrial]) -> RunStatus:
        settled = [t for t in trials if self.ledger.is_settled(t)]
        for trial in sorted(settled, key=lambda t: t.state != TrialState.COMPLETE):
            return RunStatus(_STATES[trial.state], trial, reason(trial))
        return _unsettled(trials)

    def mend(self, statuses: Mapping[str, RunStatus]) -> None:
        """Enqueue the runs again whose process was killed after the trial failed and before it was retried.

        :param statuses: See :meth:`statuses`
        """
        now = time.monotonic()
        missing = [key for key, status in statuses.items() if status.state == "missing"]
        self._missing_since = {key: self._missing_since.get(key, now) for key in missing}
        overdue = [key for key in missing if now - self._missing_since[key] > self.mend_seconds]
        self.ledger.fill({key: self.runs[key] for key in overdue})


def _unsettled(trials: list[FrozenTrial]) -> RunStatus:
    for state in (TrialState.RUNNING, TrialState.WAITING):
        for trial in trials:
            if trial.state == state:
                return RunStatus(_STATES[state], trial)
    failed = [t for t in trials if t.state == TrialState.FAIL]
    for trial in reversed(failed):
        if (text := reason(trial)) is not None:
            return RunStatus("failed", trial, text)
    if len(failed) > MAX_RETRIES:
        return RunStatus("failed", failed[-1], died(len(failed)))
    return RunStatus("missing")


def died(times: int) -> str:
    """The reason of a run whose process died too often.

    :param times: How often it died
    """
    return f"its process died {times} times (out of memory, or a crash)"


_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
