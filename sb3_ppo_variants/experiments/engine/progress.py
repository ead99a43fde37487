"""Live display of runs."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sb3_ppo_variants.experiments.engine.status import RunStatus
from sb3_ppo_variants.experiments.engine.work import RESULT
from sb3_ppo_variants.experiments.runs.run import Run


class Display:
    """Shows a progress bar for each run under way, and the reason of each failure.

    It is live within a ``with display.progress`` block. Without a terminal (a log file) it prints one line per finished
    run.

    :param runs: Key → run
    :param console: Where to show it
    :param labels: Key → short name of the run, by default :meth:`.Run.label`
    """

    def __init__(self, runs: Mapping[str, Run], console: Console, labels: Mapping[str, str] | None = None):
        self.runs, self.console = runs, console
        self.labels = labels or {key: run.label() for key, run in runs.items()}
        self._looked = False
        self._settled: set[str] = set()
        self._bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self.progress.add_task("all runs", total=len(runs), note="")

    def __call__(self, statuses: Mapping[str, RunStatus]) -> None:
        """Show the current statuses."""
        first_look, self._looked = not self._looked, True
        for key, status in statuses.items():
            if status.state == "running":
                self._show_running(key, status)
            elif key in self._bars:
                self.progress.remove_task(self._bars.pop(key))
            if status.state in ("done", "failed") and key not in self._settled:
                self._settled.add(key)
                if not first_look or status.state == "failed":
                    self._say(key, status)
        if first_look and self._settled:
            self._print(f"{len(self._settled)} of {len(self.runs)} runs were done before")
        self.progress.update(self._all, completed=len(self._settled))

    def _show_running(self, key: str, status: RunStatus) -> None:
        run = self.runs[key]
        if key not in self._bars:
            self._bars[key] = self.progress.add_task(
                escape(self.labels[key]), total=run.timesteps if run.wall_time is None else None, note=""
            )
        values = status.trial.intermediate_values if status.trial is not None else {}
        if values:
            step = max(values)
            note = "" if values[step] != values[step] else f"return {values[step]:.1f}"
            self.progress.update(self._bars[key], completed=min(step, run.timesteps), note=note)

    def _say(self, key: str, status: RunStatus) -> None:
        label = f"[{len(self._settled)}/{len(self.runs)}] {self.labels[key]}"
        if status.state == "failed":
            self._print(f"{label}: failed: {status.reason}", style="red")
        elif not self.console.is_terminal and status.trial is not None:
            result = status.trial.user_attrs[RESULT]
            speed = result["steps"] / result["seconds"]
            self._print(f"{label}: return {result['final_return']:.1f}, {speed:.0f} steps/s")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
