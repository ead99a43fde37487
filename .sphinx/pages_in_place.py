"""
A Sphinx extension that builds the site from pages where they lie, with links as they work on disk.

- A folder's ``README.md`` is the page of that folder; what lies in this folder (``api/``) stands at the site's top.
- ``contents.md`` here, the site's table of contents, is appended to the first page.
- Links to Python files and to folders without a page lead to pages that show the source.
"""

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.project import Project
from sphinx.transforms import SphinxTransform
from sphinx.util.osutil import relative_uri

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES = ("sb3_ppo_variants", "tuning")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{top}_static/pygments.css">
<style>body {{ font-family: sans-serif; margin: 2em; }} .linenos {{ color: gray; padding-right: 1em; }}</style>
</head>
<body data-theme="light">
<p><a href="{top}index.html">{project}</a> / {trail}</p>
{body}
</body>
</html>
"""


class PagesInPlace(Project):
    """Names pages for the addresses that they have in the site."""

    def path2doc(self, filename: str | os.PathLike[str]) -> str | None:
        name = super().path2doc(filename)
        return name and re.sub(r"(^|/)README$", r"\1index", name.removeprefix(f"{HERE.name}/"))


def use_pages_in_place(app: Sphinx) -> None:
    app.project = app.env.project = PagesInPlace(app.srcdir, app.config.source_suffix)


def append_contents(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname == app.config.root_doc:
        content[0] += (HERE / "contents.md").read_text(encoding="utf-8")


def give_tables_a_title(_app: Sphinx, docname: str, content: list[str]) -> None:
    """A comparison's ``table.md`` has none; other pages lead to it, not the table of contents."""
    if docname.startswith("zoo_configs/results/") and docname.endswith("/table"):
        content[0] = f"---\norphan: true\n---\n\n# {Path(docname).parent}\n\n{content[0]}"


# ---- Source ----


def source_page(path: Path) -> str:
    """
    :param path: A Python file or a folder, from the root
    :return: the name of the page that shows it
    """
    return f"source/{path.as_posix()}" + ("/index" if (ROOT / path).is_dir() else "")


class LinkToSource(SphinxTransform):
    """Links to Python files and folders lead to the pages that show them."""

    default_priority = 5  # before Sphinx gathers the files to download

    def apply(self, **kwargs: Any) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(self.leads_to_a_file)):
            name = self.page_of((folder / node["reftarget"]).resolve())
            if name is not None:
                uri = self.app.builder.get_relative_uri(self.env.docname, name)
                node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))

    def page_of(self, target: Path) -> str | None:
        """The page of a folder or a Python file; ``None`` for everything else, which is left to MyST."""
        for name in ("README.md", "table.md"):
            if (target / name).exists():
                return self.env.path2doc(target / name)
        is_source = target.is_dir() or (target.is_file() and target.suffix == ".py")
        is_shown = any(target.is_relative_to(ROOT / top) for top in SOURCES)
        return source_page(target.relative_to(ROOT)) if is_source and is_shown else None

    @staticmethod
    def leads_to_a_file(node: nodes.Node) -> bool:
        return isinstance(node, addnodes.pending_xref | addnodes.download_reference) and node.get("reftype") == "myst"


def write_sources(app: Sphinx, error: Exception | None) -> None:
    """A page for each Python file, and one for each folder of them. Plain ones: the theme needs seconds for so many."""
    if error is not None or app.builder.format != "html":
        return
    files = [path.relative_to(ROOT) for top in SOURCES for path in sorted((ROOT / top).rglob("*.py"))]
    for path in files:
        code = (ROOT / path).read_text(encoding="utf-8")
        lines = app.builder.highlighter.highlight_block(code, "python", linenos="inline", lineanchors="line")
        write_page(app, path, lines)
    for folder in {parent for path in files for parent in path.parents if parent.name}:
        inside = {folder / path.relative_to(folder).parts[0] for path in files if path.is_relative_to(folder)}
        entries = [f'<li><a href="{uri(folder, path)}">{path.name}</a></li>' for path in sorted(inside)]
        write_page(app, folder, f"<ul>{''.join(entries)}</ul>")


def uri(folder: Path, path: Path) -> str:
    return relative_uri(source_page(folder), f"{source_page(path)}.html")


def write_page(app: Sphinx, path: Path, body: str) -> None:
    name = source_page(path)
    trail = " / ".join(f'<a href="{uri(path, part)}">{part.name}</a>' for part in [*reversed(path.parents), path][1:])
    file = app.outdir / f"{name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    top = relative_uri(name, "index.html").removesuffix("index.html")
    page = PAGE.format(title=path.as_posix(), top=top, project=app.config.project, trail=trail, body=body)
    file.write_text(page, encoding="utf-8")


def source_of(_domain: str, info: dict[str, str]) -> str | None:
    """The address of an object's source, from a page in ``api/``, for ``sphinx.ext.linkcode``."""
    found: Any = sys.modules.get(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    try:
        path = Path(inspect.getsourcefile(found)).relative_to(ROOT)
        line = inspect.getsourcelines(found)[1]
    except (TypeError, OSError, ValueError):  # not written in Python, or not by us
        return None
    return f"../{source_page(path)}.html#line-{line}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", use_pages_in_place)
    app.connect("source-read", append_contents)
    app.connect("source-read", give_tables_a_title)
    app.connect("build-finished", write_sources)
    app.add_transform(LinkToSource)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
