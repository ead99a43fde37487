"""One HTML page in one file: text, tables and pictures, readable on a phone and on a desktop, light or dark.

The page has no script and loads nothing, so the file can be mailed, printed and opened years later. ``page.html`` is
its template, which escapes all text.
"""

import base64
import dataclasses
import io
from collections.abc import Sequence

import jinja2
import matplotlib
from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.reporting.tables import Table


class Block:
    """A part of a section. The template renders it according to its kind."""

    @property
    def kind(self) -> str:
        """Name of the class."""
        return type(self).__name__


@dataclasses.dataclass(frozen=True)
class Text(Block):
    """A paragraph.

    :param text: Its text
    """

    text: str


@dataclasses.dataclass(frozen=True)
class Callout(Block):
    """The most important sentence.

    :param text: Its text
    :param good: Whether it is good news
    """

    text: str
    good: bool = False


@dataclasses.dataclass(frozen=True)
class Bullets(Block):
    """A list; nothing if it is empty.

    :param items: The text of each item
    """

    items: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Code(Block):
    """Text to copy: a command or a file.

    :param text: Its text
    """

    text: str


@dataclasses.dataclass(frozen=True)
class Folded(Block):
    """Blocks that are shown on request.

    :param summary: The line to click
    :param blocks: What it hides
    """

    summary: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Grid(Block):
    """A table. A table wider than the screen scrolls inside its frame.

    :param table: The table
    :param prose: Whether the cells hold sentences instead of numbers. Sentences are left-aligned and wrapped, and on a
        phone each row becomes a paragraph
    """

    table: Table
    prose: bool = False


@dataclasses.dataclass(frozen=True)
class Picture(Block):
    """A picture.

    :param figure: The matplotlib figure
    :param alt: Description for readers who cannot see it
    :param caption: The line below it
    """

    figure: Figure
    alt: str
    caption: str

    @property
    def source(self) -> str:
        """The picture as an SVG data URL."""
        return f"data:image/svg+xml;base64,{base64.b64encode(svg(self.figure)).decode('ascii')}"


@dataclasses.dataclass(frozen=True)
class Pictures(Block):
    """Pictures, side by side if the screen is wide enough.

    :param pictures: The pictures
    """

    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    :param title: The heading
    :param blocks: The blocks below it
    """

    title: str
    blocks: Sequence[Block]


def page(title: str, lead: Sequence[Block], sections: Sequence[Section], foot: str) -> str:
    """The page.

    :param title: Its title and first heading
    :param lead: The blocks above the first section
    :param sections: The sections; each is linked at the top
    :param foot: The last line: what made the page
    :return: HTML
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(title=title, lead=lead, sections=sections, foot=foot)


def svg(figure: Figure) -> bytes:
    """A figure as SVG; the same figure gives the same bytes.

    :param figure: The figure
    :return: UTF-8
    """
    buffer = io.BytesIO()
    # Text as outlines looks alike everywhere; the salt makes the ids reproducible.
    with matplotlib.rc_context({"svg.hashsalt": "sb3_ppo_variants", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
