"""What a tuning study shows on the terminal: its progress while it runs, its best trials and the verdict at the end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sb3_ppo_variants.experiments.engine.status import SETTLED, RunStatus
from sb3_ppo_variants.experiments.reporting.tables import Table, number
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, counts, ranked

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.tuning.study import Tuned

SHOWN = 5  # trials at the end


class StudyDisplay:
    """Shows the progress of a study: a moving bar on a terminal, elsewhere one line per finished trial.

    :param total: Trials asked for
    :param read: Reads the settled trials from the ledger
    :param console: Where to show it
    """

    def __init__(self, total: int, read: Callable[[], Sequence[TrialRecord]], console: Console):
        self.total, self.read, self.console = total, read, console
        self._shown: set[int] | None = None  # numbers of the trials shown; None before the first call
        self._before = 0
        self._settled = -1
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("trials", total=total, note="")

    @contextmanager
    def live(self) -> Iterator["StudyDisplay"]:
        """Show while the block runs."""
        with self._progress:
            yield self

    def __call__(self, statuses: Mapping[str, RunStatus]) -> None:
        """Show where the trials stand now."""
        settled = sum(s.state in SETTLED for s in statuses.values())
        if settled != self._settled:
            self._settled = settled
            self._update(self.read(), settled)
        self._progress.update(self._bar, completed=settled)

    def _update(self, trials: Sequence[TrialRecord], settled: int) -> None:
        if self._shown is None:
            self._shown, self._before = {t.number for t in trials}, settled
            if settled:
                _print(self.console, f"{settled} of {self.total} trials were done before")
        note = " · ".join([*best_against_defaults(trials), *self._time_left(settled)])
        for trial in trials:
            if trial.number not in self._shown:
                self._shown.add(trial.number)
                if trial.state == "failed":
                    _print(
                        self.console,
                        f"[{settled}/{self.total}] trial {trial.number} failed: {trial.reason}",
                        style="red",
                    )
                elif not self.console.is_terminal:
                    _print(self.console, f"[{settled}/{self.total}] trial {trial.number}: {_outcome(trial)} · {note}")
        self._progress.update(self._bar, note=note)

    def _time_left(self, settled: int) -> list[str]:
        """Estimated from the mean pace of this command."""
        new = settled - self._before
        if new < 1 or settled >= self.total:
            return []
        seconds = (time.monotonic() - self._start) / new * (self.total - settled)
        return [f"about {_duration(seconds)} left"]


def best_against_defaults(trials: Sequence[TrialRecord]) -> list[str]:
    """The best score so far, and that of trial 0.

    :param trials: The settled trials
    """
    finished = ranked(trials)
    if not finished:
        return []
    best = f"best {finished[0].score:.4g} (trial {finished[0].number})"
    return [best, *(f"defaults {t.score:.4g}" for t in finished if t.number == 0)]


def _outcome(trial: TrialRecord) -> str:
    if trial.state == "pruned":
        return str(trial.reason)
    how = f"in {_duration(trial.seconds)}" if trial.reused is None else f"(settings of trial {trial.reused})"
    return f"score {trial.score:.4g} {how}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show(tuned: "Tuned", console: Console) -> None:
    """Print the best trials beside the defaults, and the verdict of the confirmation.

    :param tuned: The study
    :param console: Where to print
    """
    reused = sum(t.reused is not None for t in tuned.trials)
    note = f"; {reused} reused a score" if reused else ""
    _print(console, f"{len(tuned.trials)} trials: {counts(tuned.trials)}{note}")
    _trials(tuned).show(console)
    for trial in tuned.trials:
        if trial.state == "failed":
            _print(console, f"FAILED trial {trial.number}: {trial.reason}")
    if tuned.verdict is None:
        _print(console, "Not confirmed: the scores above flatter the best, which were chosen because they looked good.")
        return
    if tuned.verdict.table.body:
        tuned.verdict.table.show(console)
    for note in tuned.verdict.notes:
        _print(console, note)
    _print(console, f"Verdict: {tuned.verdict.words}")
    for why in tuned.without_entry:
        _print(console, why)


def _trials(tuned: "Tuned") -> Table:
    shown = [t for i, t in enumerate(ranked(tuned.trials)) if i < SHOWN or t.number == 0]
    header = ["trial", "score", *tuned.plan.space]
    body = [
        [
            "0 (defaults)" if t.number == 0 else str(t.number),
            number(t.score or 0.0),
            *map(_text, tuned.plan.arguments(t.values).values()),
        ]
        for t in shown
    ]
    return Table(f"Tuning scores of {tuned.plan.algorithm} ({tuned.plan.aggregation})", header, body)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
