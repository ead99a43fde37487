"""What a tuning study says on the terminal at its end."""

from typing import TYPE_CHECKING

from rich.console import Console

from sb3_ppo_variants.experiments.reporting.tables import Table, number

if TYPE_CHECKING:
    from sb3_ppo_variants.experiments.tuning.study import Tuned

SHOWN = 5


def show(tuned: "Tuned", console: Console) -> None:
    """Print the best trials beside the defaults, and what the confirmation found.

    :param tuned: The study
    :param console: Where to
    """
    states = [t.state for t in tuned.trials]
    reused = sum(t.reused is not None for t in tuned.trials)
    counts = [f"{states.count(s)} {s}" for s in ("done", "pruned", "failed") if s in states]
    _print(console, f"{len(states)} trials: {', '.join(counts)}" + (f"; {reused} took a score over" if reused else ""))
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
    finished = sorted((t for t in tuned.trials if t.score is not None), key=lambda t: (-(t.score or 0.0), t.number))
    shown = [t for i, t in enumerate(finished) if i < SHOWN or t.number == 0]
    header = ["trial", "score", *tuned.plan.space]
    body = [
        ["0 (defaults)" if t.number == 0 else str(t.number), number(t.score or 0.0), *map(_text, t.values.values())]
        for t in shown
    ]
    return Table(f"Tuning scores of {tuned.plan.algorithm} ({tuned.plan.aggregation})", header, body)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
