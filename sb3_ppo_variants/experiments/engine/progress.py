"""Live display of runs."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sb3_ppo_variants.experiments.engine import task
from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.runs.run import Run


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class TimeLeft:
    """The time left, estimated from the mean pace of this command.

    :param total: Things to do, those included that were done before
    """

    def __init__(self, total: float):
        self.total, self.done_before = total, 0
        self._start = time.monotonic()

    def __call__(self, done: float) -> str | None:
        """In words, ``None`` while it is not known.

        :param done: Things done
        """
        new = done - self.done_before
        if new <= 0 or done >= self.total:
            return None
        return f"about {duration((time.monotonic() - self._start) / new * (self.total - done))} left"


def say(console: Console, text: str, style: str = "") -> None:
    """Print one line as it is."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class RunBars:
    """A progress bar for everything, and one for each run under way. They are live in a ``with bars.progress`` block.

    :param what: Name of the first bar
    :param total: Its length
    :param console: Where to show them; nothing is shown unless it is a terminal
    """

    def __init__(self, what: str, total: int, console: Console):
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self.progress.add_task(what, total=total, note="")
        self._bars: dict[str, TaskID] = {}

    def update(self, done: int, note: str | None) -> None:
        """Show how much is done.

        :param done: Of the first bar
        :param note: Text beside it
        """
        self.progress.update(self._all, completed=done, note=note or "")

    def show(self, under_way: Mapping[str, tuple[Run, task.Progress | None]]) -> None:
        """Show the runs under way.

        :param under_way: Name → run and progress
        """
        for name in [name for name in self._bars if name not in under_way]:
            self.progress.remove_task(self._bars.pop(name))
        for name, (run, at) in under_way.items():
            if name not in self._bars:
                total = run.timesteps if run.wall_time is None else None
                self._bars[name] = self.progress.add_task(escape(name), total=total, note="")
            if at is not None:
                note = "" if at.mean_return != at.mean_return else f"return {at.mean_return:.1f}"
                self.progress.update(self._bars[name], completed=min(at.steps, run.timesteps), note=note)


class Display:
    """Shows the runs under way, and the reason of each failure. Without a terminal it prints one line per ended run.

    It is live within a ``with display.progress`` block.

    :param runs: The runs
    :param console: Where to show it
    :param labels: Key → short name of the run, by default :meth:`.Run.label`
    """

    def __init__(self, runs: Sequence[Run], console: Console, labels: Mapping[str, str] | None = None):
        self.runs, self.console = {run.key(): run for run in runs}, console
        self.labels = labels or {key: run.label() for key, run in self.runs.items()}
        self._bars = RunBars("all runs", len(runs), console)
        self.progress = self._bars.progress
        self._left = TimeLeft(len(runs))
        self._ended = 0

    def begin(self, done: int) -> None:
        """To be called first.

        :param done: Number of runs that were done before
        """
        self._ended = self._left.done_before = done
        if done:
            say(self.console, f"{done} of {len(self.runs)} runs were done before")

    def ended(self, record: Record) -> None:
        """A run has ended."""
        self._ended += 1
        label = f"[{self._ended}/{len(self.runs)}] {self.labels[record.run.key()]}"
        if record.result is None:
            say(self.console, f"{label}: failed: {record.reason}", style="red")
        elif not self.console.is_terminal:
            left = self._left(self._ended)
            result = f"return {record.result.final_return:.1f}, {record.result.steps_per_second:.0f} steps/s"
            say(self.console, f"{label}: {result}" + (f", {left}" if left else ""))

    def __call__(self, under_way: Mapping[str, task.Progress | None]) -> None:
        """Show the current state."""
        parts = [min(1.0, at.steps / self.runs[key].timesteps) for key, at in under_way.items() if at is not None]
        self._bars.update(self._ended, self._left(self._ended + sum(parts)))
        self._bars.show({self.labels[key]: (self.runs[key], at) for key, at in under_way.items()})
