"""A table as data, as Markdown and on the screen, and numbers as text."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.intervals import CONFIDENCE, Interval

NONE = "–"
PADDING, EDGE = 3, 1  # blanks on the screen beside a column, and left of the table
SHORTEST_NAME = 8  # width of the first column in which names are broken before numbers are
LONGEST_NUMBER = 24  # characters of a number with its unit or of an interval; longer cells are text


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
        cells = ["| " + " | ".join(in_markdown(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([f"**{in_markdown(self.title)}**", "", *cells])

    def show(self, console: Console) -> None:
        """Print the table."""
        console.print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The table on a screen: in a narrow one as several tables, each with the first column and some of the others.

        Numbers and intervals are never broken. Texts are, between words.
        """
        columns = list(zip(self.header, *self.body, strict=True))
        title = self.title
        for widths in _blocks(columns, options.max_width):
            yield Text(title, style="bold")  # on its own: Rich breaks a table's title at the table's width
            yield _rich_table([columns[i] for i in widths], list(widths.values()))
            title = f"{self.title} (continued)"


def _blocks(columns: Sequence[Sequence[str]], screen: int) -> list[dict[int, int]]:
    """The columns of each table that is as wide as the screen at most, and their widths; the first is in all."""
    natural, available = [_natural_width(cells) for cells in columns], screen - EDGE
    if sum(natural) + PADDING * len(columns) <= available:
        return [dict(enumerate(natural))]
    first = max(1, min(natural[0], max(_least_width(columns[0]), available // 3), available - PADDING))
    blocks = [{0: first}]
    for group in _groups(columns):
        least = {i: _least_width(columns[i]) for i in group}
        if len(blocks[-1]) > 1 and _left(blocks[-1] | least, available) < 0:
            blocks.append({0: first})
        blocks[-1] |= least
    for block in blocks:
        _fit(block, natural, available)
    return blocks


def _groups(columns: Sequence[Sequence[str]]) -> list[list[int]]:
    """The columns after the first, each together with the interval (a column called "95 %") that follows it."""
    groups: list[list[int]] = []
    for i, (name, *_) in enumerate(columns[1:], start=1):
        if groups and name.endswith("%"):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _left(block: Mapping[int, int], available: int) -> int:
    return available - sum(block.values()) - PADDING * len(block)


def _fit(block: dict[int, int], natural: Sequence[int], available: int) -> None:
    """Share what is left of the width among the columns, from the first on; take what is missing from the widest."""
    for i, width in block.items():
        block[i] = width + max(0, min(natural[i] - width, _left(block, available)))
    while _left(block, available) < 0 and max(block.values()) > 1:
        block[0 if block[0] > SHORTEST_NAME else max(block, key=lambda i: block[i])] -= 1


def _natural_width(cells: Sequence[str]) -> int:
    return max(map(cell_len, cells))


def _least_width(cells: Sequence[str]) -> int:
    """The width in which no number, interval or word is broken."""
    header, *body = cells
    names = [header] if cell_len(header) <= SHORTEST_NAME else header.split()  # "95 %" is not broken
    words = [*names, *(word for cell in body for word in (cell.split() if _is_text(cell) else [cell]))]
    return max(map(cell_len, words), default=1)


def _is_text(cell: str) -> bool:
    return cell_len(cell) > LONGEST_NUMBER


def _rich_table(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD)
    for i, ((name, *cells), width) in enumerate(zip(columns, widths, strict=True)):
        numbers = i > 0 and not any(map(_is_text, cells))
        table.add_column(escape(name), justify="right" if numbers else "left", width=width, overflow="fold")
    for line in list(zip(*columns, strict=True))[1:]:
        table.add_row(*map(escape, line))
    return table


def in_markdown(text: str) -> str:
    """Text in one line, in which what looks like HTML is shown as it is, as in names like ``<lambda>``.

    :param text: Any text
    """
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").splitlines())


def number(value: float) -> str:
    """A return with a sensible number of digits, two at least if two after the point would make it a zero."""
    if abs(value) < 0.005:
        return f"{value:#.2g}" if abs(value) > 1e-9 else "0.00"  # below are the rounding errors of larger ones
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def significant(value: float) -> str:
    """A difference with two digits at least, zeros included: on a scale from 0 to 1 small ones count."""
    return number(value) if value == 0 or abs(value) >= 0.1 else f"{value:#.2g}"


def interval(found: Interval | None, digits: int | None = None) -> str:
    """An interval as text, – for none.

    :param found: The interval
    :param digits: Digits after the point; by size when not given
    """
    if found is None:
        return NONE
    low, high = (number(x) if digits is None else f"{x:.{digits}f}" for x in found)
    return f"[{low}, {high}]"


def counted(n: int, name: str) -> str:
    """A number of things: ``1 environment``, ``3 environments``."""
    return f"{n} {name}" if n == 1 else f"{n} {name}s"


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


def difference_cells(pairs: estimators.Pairs, level: float) -> list[str]:
    """Difference and its interval as text, – where there is nothing to compare.

    :param pairs: See :func:`.estimators.mean_difference`
    :param level: Confidence level of the interval
    """
    if not pairs:
        return [NONE] * 2
    found = estimators.difference_interval(pairs, level)
    ends = NONE if found is None else f"[{significant(found.low)}, {significant(found.high)}]"
    return [significant(estimators.mean_difference(pairs)), ends]
