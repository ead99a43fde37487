"""A table as data, as Markdown and on the screen, and numbers as text."""

import dataclasses

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.intervals import CONFIDENCE, Interval

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    :param title: What it shows
    :param header: Column names
    :param body: Rows of cells
    """

    title: str
    header: list[str]
    body: list[list[str]]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.body]
        cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([f"**{self.title}**", "", *cells])

    def show(self, console: Console) -> None:
        """Print the table."""
        table = RichTable(title=escape(self.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for i, name in enumerate(self.header):
            table.add_column(escape(name), justify="right" if i else "left", no_wrap=not i, overflow="fold")
        for line in self.body:
            table.add_row(*map(escape, line))
        console.print(table)


def number(value: float) -> str:
    """A return with a sensible number of digits."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def interval(found: Interval | None, digits: int | None = None) -> str:
    """An interval as text, – for none.

    :param found: The interval
    :param digits: Digits after the point; by size when not given
    """
    if found is None:
        return NONE
    low, high = (number(x) if digits is None else f"{x:.{digits}f}" for x in found)
    return f"[{low}, {high}]"


def percent(share: float) -> str:
    """A share or a confidence level as text, with three digits."""
    return f"{100 * share:.3g} %"


def improvement_cells(pairs: estimators.Pairs, level: float = CONFIDENCE) -> list[str]:
    """Probability of improvement, its interval and the p-value as text, – where there is nothing to compare.

    :param pairs: See :func:`.estimators.mean_improvement`
    :param level: Confidence level of the interval
    """
    if not pairs:
        return [NONE] * 3
    spread = interval(estimators.improvement_interval(pairs, level), digits=2)
    return [f"{estimators.mean_improvement(pairs):.2f}", spread, f"{estimators.improvement_p(pairs):.2g}"]


def difference_cells(pairs: estimators.Pairs, level: float, digits: int | None = None) -> list[str]:
    """Difference and its interval as text, – where there is nothing to compare.

    :param pairs: See :func:`.estimators.mean_difference`
    :param level: Confidence level of the interval
    :param digits: Digits after the point; by size when not given
    """
    if not pairs:
        return [NONE] * 2
    found = estimators.mean_difference(pairs)
    value = number(found) if digits is None else f"{found:.{digits}f}"
    return [value, interval(estimators.difference_interval(pairs, level), digits)]
