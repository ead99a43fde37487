"""Live display of a tuning study: trials done, best so far against the defaults, time left."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sb3_ppo_variants.experiments.engine.status import SETTLED, RunStatus
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, done


class StudyDisplay:
    """Shows how a study goes on. On a terminal a bar moves; elsewhere each finished trial gives one line.

    :param total: Trials asked for
    :param read: Reads the settled trials from the ledger
    :param console: Where to show it
    """

    def __init__(self, total: int, read: Callable[[], Sequence[TrialRecord]], console: Console):
        self.total, self.read, self.console = total, read, console
        self._said: set[int] | None = None  # numbers of the trials spoken of; None before the first look
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

    def __call__(self, standings: Mapping[str, RunStatus]) -> None:
        """Show where the trials stand now."""
        settled = sum(s.state in SETTLED for s in standings.values())
        if settled != self._settled:
            self._settled = settled
            self._show(self.read(), settled)
        self._progress.update(self._bar, completed=settled)

    def _show(self, trials: Sequence[TrialRecord], settled: int) -> None:
        if self._said is None:
            self._said, self._before = {t.number for t in trials}, settled
            if settled:
                self._print(f"{settled} of {self.total} trials were done before")
        note = " · ".join([*best_against_defaults(trials), *self._time_left(settled)])
        for trial in trials:
            if trial.number not in self._said:
                self._said.add(trial.number)
                if trial.state == "failed":
                    self._print(f"[{settled}/{self.total}] trial {trial.number} failed: {trial.reason}", style="red")
                elif not self.console.is_terminal:
                    self._print(f"[{settled}/{self.total}] trial {trial.number}: {_outcome(trial)} · {note}")
        self._progress.update(self._bar, note=note)

    def _time_left(self, settled: int) -> list[str]:
        """From the mean pace of this command."""
        new = settled - self._before
        if new < 1 or settled >= self.total:
            return []
        seconds = (time.monotonic() - self._start) / new * (self.total - settled)
        return [f"about {_duration(seconds)} left"]

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def best_against_defaults(trials: Sequence[TrialRecord]) -> list[str]:
    """What to say of the best trial so far and of trial 0.

    :param trials: The settled trials
    """
    finished = done(trials)
    if not finished:
        return []
    best = max(finished, key=lambda t: -float("inf") if t.score is None else t.score)
    defaults = next((t for t in finished if t.number == 0), None)
    said = [f"best {best.score:.4g} (trial {best.number})"]
    return [*said, f"defaults {defaults.score:.4g}"] if defaults is not None else said


def _outcome(trial: TrialRecord) -> str:
    if trial.state == "pruned":
        return str(trial.reason)
    twin = f" (settings of trial {trial.reused})" if trial.reused is not None else f" in {_duration(trial.seconds)}"
    return f"score {trial.score:.4g}{twin}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
