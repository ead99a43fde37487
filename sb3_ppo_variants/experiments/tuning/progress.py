"""What a tuning study shows on the terminal: its progress while it runs, its best trials and the verdict at the end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sb3_ppo_variants.experiments.engine.progress import RunBars, TimeLeft, duration, say
from sb3_ppo_variants.experiments.reporting.tables import Table, number
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, counts, ranked

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.tuning.study import Tuned

SHOWN = 5  # trials at the end


class StudyDisplay:
    """Shows the progress of a study: bars on a terminal, elsewhere one line per settled trial.

    It is live within a ``with display.progress`` block.

    :param total: Trials asked for
    :param console: Where to show it
    :param afterwards: What the command does after them, in trials' worth of work, for the time left
    """

    def __init__(self, total: int, console: Console, afterwards: float = 0.0):
        self.total, self.console = total, console
        self._shown: set[int] = set()  # numbers of trials
        self._left = TimeLeft(total + afterwards)
        self._bars = RunBars("trials", total, console)
        self.progress = self._bars.progress
        self.show = self._bars.show

    def begin(self, trials: Sequence[TrialRecord]) -> None:
        """To be called first.

        :param trials: The trials that were settled before
        """
        self._shown = {t.number for t in trials}
        self._left.done_before = len(trials)
        if trials:
            say(self.console, f"{len(trials)} of {self.total} trials were done before")
        self._bars.update(len(trials), None)

    def update(self, trials: Sequence[TrialRecord]) -> None:
        """To be called when a trial has been settled.

        :param trials: All settled trials
        """
        left, settled = self._left(len(trials)), len(trials)
        note = " · ".join([*best_against_defaults(trials), *([left] if left else [])])
        for trial in trials:
            if trial.number not in self._shown:
                self._shown.add(trial.number)
                line = f"[{settled}/{self.total}] trial {trial.number}"
                if trial.state == "failed":
                    say(self.console, f"{line} failed: {trial.reason}", style="red")
                elif not self.console.is_terminal:
                    say(self.console, f"{line}: {_outcome(trial)} · {note}")
        self._bars.update(settled, note)


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
    how = f"in {duration(trial.seconds)}" if trial.reused is None else f"(settings of trial {trial.reused})"
    return f"score {trial.score:.4g} {how}"


def show(tuned: "Tuned", console: Console) -> None:
    """Print the best trials beside the defaults, and the verdict of the confirmation.

    :param tuned: The study
    :param console: Where to print
    """
    reused = sum(t.reused is not None for t in tuned.trials)
    note = f"; {reused} reused a score" if reused else ""
    say(console, f"{len(tuned.trials)} trials: {counts(tuned.trials)}{note}")
    _trials(tuned).show(console)
    for trial in tuned.trials:
        if trial.state == "failed":
            say(console, f"FAILED trial {trial.number}: {trial.reason}")
    if tuned.verdict is None:
        say(console, "Not confirmed: the scores above flatter the best, which were chosen because they looked good.")
        return
    if tuned.verdict.table.body:
        tuned.verdict.table.show(console)
    for note in tuned.verdict.notes:
        say(console, note)
    say(console, f"Verdict: {tuned.verdict.words}")
    for why in tuned.without_entry:
        say(console, why)


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
