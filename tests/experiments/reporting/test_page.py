"""The HTML page: well-formed, escaped, self-contained, the same each time."""

import base64
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from sb3_ppo_variants.experiments.reporting.page import render, svg, templates
from sb3_ppo_variants.experiments.reporting.tables import Table
from tests.experiments.html_reader import read

NASTY = "<script>alert('x')</script> & \"quotes\""


def figure() -> Figure:
    drawn = Figure(figsize=(2, 1))
    drawn.add_subplot().plot([1, 2], [3, 4], label=NASTY)
    return drawn


REPORT = """
{% extends "reporting/page.html" %}
{% from "reporting/blocks.html" import bullets, callout, code, folded, grid, picture, section with context %}
{% block title %}{{ nasty }}{% endblock %}
{% block lead %}<p>lead</p>{% endblock %}
{% block sections %}
{% call section(nasty) %}
<p>{{ nasty }}</p>
{{ callout(nasty) }}
{{ bullets([nasty]) }}
{{ code(nasty) }}
{% call folded(nasty) %}
<p>{{ nasty }}</p>
{% endcall %}
{{ grid(table) }}
<div class="pictures">
{{ picture(figure, nasty, nasty) }}
{{ picture(figure, "second", "caption") }}
</div>
{% endcall %}
{% call section("Empty") %}
{% endcall %}
{% endblock %}
{% block foot %}{{ nasty }}{% endblock %}
"""


def nasty_page() -> str:
    table = Table(NASTY, ["a", NASTY], [["first", NASTY]])
    return render(templates().from_string(REPORT), nasty=NASTY, table=table, figure=figure())


def test_everything_is_escaped_and_closed() -> None:
    html = nasty_page()
    reader = read(html)
    assert "<script" not in html
    assert not any(tag == "script" for tag, _ in reader.tags)
    # title, heading, link, section, eight texts, table's caption, header, cell, one caption of a picture, foot
    assert sum(NASTY in text for text in reader.text) == 15
    assert any(tag == "img" and attributes["alt"] == NASTY for tag, attributes in reader.tags)


def test_nothing_comes_from_elsewhere() -> None:
    reader = read(nasty_page())
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/svg+xml;base64,", "#"))
    assert not re.search(r"url\(|@import", nasty_page())


def test_structure() -> None:
    reader = read(nasty_page())
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("h1") == 1
    assert {"header", "nav", "main", "section", "footer", "figure", "figcaption", "caption"} < set(tags)
    anchors = {a["href"] for tag, a in reader.tags if tag == "a"}
    assert anchors == {f"#{a['id']}" for tag, a in reader.tags if tag == "section"}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    assert reader.tags[0] == ("html", {"lang": "en"})
    scopes = [a["scope"] for tag, a in reader.tags if tag == "th"]
    assert scopes == ["col", "col", "row"]


def test_pictures_are_svg_and_the_same_each_time() -> None:
    assert svg(figure()) == svg(figure())
    sources = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', nasty_page())
    assert len(sources) == 2
    assert ElementTree.fromstring(base64.b64decode(sources[0])).tag.endswith("svg")
    assert nasty_page() == nasty_page()


def test_a_folded_block_keeps_its_blocks() -> None:
    template = templates().from_string(
        """{% from "reporting/blocks.html" import code, folded with context %}
        {% call folded("more") %}<p>inside</p>{{ code(text) }}{% endcall %}"""
    )
    html = render(template, text="x\ny")
    lines = "".join(line.strip() for line in html.replace("x\ny", "x y").splitlines())
    assert "<details><summary>more</summary><p>inside</p><pre><code>x y</code></pre></details>" in lines
