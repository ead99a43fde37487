"""The runs that one command asked for, and where each of them stands in the ledger."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.ledger import RUN, Ledger, reason
from sb3_ppo_variants.experiments.engine.storage import MAX_RETRIES

State = Literal["done", "failed", "pruned", "running", "waiting", "missing"]
SETTLED: tuple[State, ...] = ("done", "failed", "pruned")

# A lost run counts as forgotten only when nobody has enqueued it again for this long: whoever failed its trial may
# just be about to.
MEND_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a run stands.

    :param state: ``"missing"`` means lost and not enqueued again yet
    :param trial: The trial that says so
    :param reason: Why it failed
    """

    state: State
    trial: FrozenTrial | None = None
    reason: str | None = None


class Batch:
    """The runs that one command asked for.

    :param ledger: Where they are kept; it may hold others
    :param runs: Key → description
    :param mend_seconds: See :data:`MEND_SECONDS`
    """

    def __init__(self, ledger: Ledger, runs: Mapping[str, Mapping[str, Any]], mend_seconds: float = MEND_SECONDS):
        self.ledger, self.runs, self.mend_seconds = ledger, dict(runs), mend_seconds
        before = ledger.trials()
        self.first = len(before)
        # Failures of earlier commands do not count: the same command given again tries them again.
        self._old = {t.number for t in before if t.state == TrialState.FAIL and not ledger.is_settled(t)}
        self._missing_since: dict[str, float] = {}

    def fill(self) -> None:
        """Enqueue what is neither done nor under way."""
        self.ledger.fill(self.runs)

    def standings(self) -> dict[str, Standing]:
        """Where each run stands now; of several trials of one run the best counts."""
        by_key: dict[str, list[FrozenTrial]] = {key: [] for key in self.runs}
        for trial in self.ledger.trials():
            if (key := trial.user_attrs.get(RUN)) in by_key and trial.number not in self._old:
                by_key[key].append(trial)
        return {key: self._standing(trials) for key, trials in by_key.items()}

    def _standing(self, trials: list[FrozenTrial]) -> Standing:
        settled = [t for t in trials if self.ledger.is_settled(t)]
        for trial in sorted(settled, key=lambda t: t.state != TrialState.COMPLETE):
            return Standing(_SETTLED_BY[trial.state], trial, reason(trial))
        return _unsettled(trials)

    def mend(self, standings: Mapping[str, Standing]) -> None:
        """Enqueue again what was lost and forgotten: killed between a failure and its retry, or put back by nobody.

        :param standings: See :meth:`standings`
        """
        now = time.monotonic()
        missing = [key for key, standing in standings.items() if standing.state == "missing"]
        self._missing_since = {key: self._missing_since.get(key, now) for key in missing}
        overdue = [key for key in missing if now - self._missing_since[key] > self.mend_seconds]
        self.ledger.fill({key: self.runs[key] for key in overdue})


def _unsettled(trials: list[FrozenTrial]) -> Standing:
    for state, name in _UNDER_WAY:
        for trial in trials:
            if trial.state == state:
                return Standing(name, trial)
    failed = [t for t in trials if t.state == TrialState.FAIL]
    for trial in reversed(failed):
        if (text := reason(trial)) is not None:
            return Standing("failed", trial, text)
    if len(failed) > MAX_RETRIES:
        return Standing("failed", failed[-1], died(len(failed)))
    return Standing("missing")


def died(times: int) -> str:
    """What is said of a run whose process died again and again.

    :param times: How often
    """
    return f"its process died {times} times (out of memory, or a crash)"


_SETTLED_BY: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
}
_UNDER_WAY: tuple[tuple[TrialState, State], ...] = (
    (TrialState.RUNNING, "running"),
    (TrialState.WAITING, "waiting"),
)
