"""One HTML page in one file: text, tables and pictures, readable on a phone and on a desktop, light or dark.

No script and nothing from elsewhere, so that the file can be mailed, printed and opened years later. Everything that
goes in is text and is escaped here.
"""

import base64
import dataclasses
import io
from collections.abc import Sequence
from html import escape
from typing import Protocol

import matplotlib
from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.reporting.tables import Table

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b6470; --paper: #ffffff; --card: #f4f6f8;
  --line: #d5dae0; --accent: #0b62a3; --good: #0a7d55; --doubt: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #a3adb8; --paper: #15181c; --card: #1f242a;
  --line: #39414a; --accent: #7dbdf0; --good: #5fd3a5; --doubt: #e8b65a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
header { padding-top: 2rem; }
footer { padding-bottom: 3rem; color: var(--soft); font-size: .875rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
p { margin: .75rem 0; }
ul { padding-left: 1.25rem; }
li { margin: .3rem 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; margin: .75rem 0 0; }
a { color: var(--accent); }
nav li { margin: 0; }
nav a { display: inline-block; padding: .3rem 0; }
.callout { border-left: 4px solid var(--doubt); background: var(--card); padding: .75rem 1rem; font-size: 1.075rem; }
.callout.good { border-color: var(--good); }
.callout p { margin: 0; }
.table { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px; }
.table:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .6rem; }
caption span { display: inline-block; position: sticky; left: .6rem; max-width: min(66rem, calc(100vw - 4rem)); }
th, td { padding: .45rem .6rem; border-top: 1px solid var(--line); vertical-align: top; }
td { text-align: right; white-space: nowrap; }
th { text-align: left; font-weight: 600; }
thead th { background: var(--card); white-space: nowrap; }
thead th:not(:first-child) { text-align: right; }
tbody th { font-weight: 400; }
.prose td { text-align: left; white-space: normal; min-width: 11rem; overflow-wrap: anywhere; }
.prose thead th:not(:first-child) { text-align: left; }
.prose tbody th { min-width: 9rem; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
figure { margin: 1rem 0; }
.pictures figure { margin: 0; }
figure img { display: block; width: 100%; max-width: 44rem; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; max-width: 44rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .75rem 1rem; font-size: .875rem; }
summary { cursor: pointer; padding: .35rem 0; color: var(--accent); }
@media (max-width: 40rem) {
  .prose table, .prose caption, .prose tbody, .prose tr, .prose th, .prose td { display: block; }
  .prose thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .prose tr { border-top: 1px solid var(--line); padding: .4rem 0; }
  .prose th, .prose td { border: 0; padding: .15rem .6rem; }
  .prose tbody th { font-weight: 600; }
}
@media print { nav { display: none; } .table { overflow: visible; } figure, table { break-inside: avoid; } }
""".strip()


class Block(Protocol):
    """A part of a section."""

    def html(self) -> str:
        """The part as HTML."""


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph.

    :param text: Its text
    """

    text: str

    def html(self) -> str:
        """The paragraph."""
        return f"<p>{escape(self.text)}</p>"


@dataclasses.dataclass(frozen=True)
class Callout:
    """The sentence that matters most.

    :param text: Its text
    :param good: Whether it is good news
    """

    text: str
    good: bool = False

    def html(self) -> str:
        """The callout."""
        return f'<div class="callout{" good" if self.good else ""}"><p>{escape(self.text)}</p></div>'


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list.

    :param items: One text each
    """

    items: Sequence[str]

    def html(self) -> str:
        """The list; nothing when it is empty."""
        if not self.items:
            return ""
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in self.items) + "</ul>"


@dataclasses.dataclass(frozen=True)
class Code:
    """Text to copy: a command or a file.

    :param text: Its text
    """

    text: str

    def html(self) -> str:
        """The code."""
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclasses.dataclass(frozen=True)
class Folded:
    """What few will want to read: shown on request.

    :param summary: The line to click
    :param blocks: What it hides
    """

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """The folded blocks."""
        inside = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{escape(self.summary)}</summary>{inside}</details>"


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table; where it is wider than the screen, it scrolls inside itself.

    :param table: The table
    :param prose: Whether the cells hold sentences, which are set to the left and wrapped, rather than
        numbers; on a phone each row becomes a paragraph
    """

    table: Table
    prose: bool = False

    def html(self) -> str:
        """The table."""
        # The roles say what the tags say, for browsers that forget it where the style stacks the cells.
        head = "".join(f'<th scope="col" role="columnheader">{escape(name)}</th>' for name in self.table.header)
        body = "".join(
            f'<tr role="row"><th scope="row" role="rowheader">{escape(line[0])}</th>'
            + "".join(f'<td role="cell">{escape(cell)}</td>' for cell in line[1:])
            + "</tr>"
            for line in self.table.body
        )
        title = escape(self.table.title)
        return (
            f'<div class="table{" prose" if self.prose else ""}" role="region" aria-label="{title}" tabindex="0">'
            f'<table role="table"><caption><span>{title}</span></caption><thead><tr role="row">{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture.

    :param figure: The matplotlib figure
    :param alt: What it shows, for those who cannot see it
    :param caption: The line below it
    """

    figure: Figure
    alt: str
    caption: str

    def html(self) -> str:
        """The picture as SVG inside the page."""
        source = base64.b64encode(svg(self.figure)).decode("ascii")
        return (
            f'<figure><img src="data:image/svg+xml;base64,{source}" alt="{escape(self.alt)}">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures beside each other where there is room.

    :param pictures: The pictures
    """

    pictures: Sequence[Picture]

    def html(self) -> str:
        """The pictures."""
        return f'<div class="pictures">{"".join(p.html() for p in self.pictures)}</div>'


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    :param title: The heading
    :param blocks: What stands below it
    """

    title: str
    blocks: Sequence[Block]


def page(title: str, lead: Sequence[Block], sections: Sequence[Section], foot: str) -> str:
    """The page.

    :param title: Its title and first heading
    :param lead: What stands above the first section
    :param sections: The sections; each is linked at the top
    :param foot: The last line: what made the page
    :return: HTML
    """
    links = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections))
    parts = "".join(
        f'<section id="s{i}" aria-labelledby="h{i}"><h2 id="h{i}">{escape(s.title)}</h2>'
        f"{''.join(block.html() for block in s.blocks)}</section>"
        for i, s in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{''.join(block.html() for block in lead)}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>{parts}</main>\n<footer><p>{escape(foot)}</p></footer>\n</body>\n</html>\n"
    )


def svg(figure: Figure) -> bytes:
    """A figure as SVG that is the same each time.

    :param figure: The figure
    :return: UTF-8
    """
    buffer = io.BytesIO()
    # Text as outlines looks alike everywhere; the salt makes the ids reproducible.
    with matplotlib.rc_context({"svg.hashsalt": "sb3_ppo_variants", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
