"""One HTML page in one file: text, tables and pictures, readable on a phone and on a desktop, light or dark.

The page has no script and loads nothing, so the file can be mailed, printed and opened years later.

A report is a Jinja2 template that extends the frame ``page.html`` and uses the macros of ``blocks.html``. Python
supplies its data, which the templates escape.
"""

import base64
import functools
import io
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.reporting.tables import counted, interval, number


@functools.cache
def templates() -> jinja2.Environment:
    """The templates of this package, named by their paths in ``experiments``."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sb3_ppo_variants.experiments", "."),
        extensions=["jinja2.ext.do"],
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(counted=counted, interval=interval, number=number, svg_url=svg_url)
    return environment


def render(template: jinja2.Template, **data: Any) -> str:
    """A report as HTML.

    :param template: Its template
    :param data: What the template refers to; ``sections`` is taken by the page for the titles of its sections
    :return: HTML
    """
    return template.render(data, sections=[])


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


def svg_url(figure: Figure) -> str:
    """A figure as an SVG data URL.

    :param figure: The figure
    """
    return f"data:image/svg+xml;base64,{base64.b64encode(svg(figure)).decode('ascii')}"
