"""Reading the repository's pages: what in them can be run, looked up or compared."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
#: Folders that hold what is made here, not what is written.
MADE = {"build", "dist", "runs", "logs"}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
_ENDS_WITH_FILE = re.compile(r"\]\((?P<file>[^)\s]+\.py)\):\s*\Z")


def pages() -> list[Path]:
    """Every page of the repository, as a path from its root."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in found if not any(part.startswith(".") or part in MADE for part in path.parts))


class Block(NamedTuple):
    """
    A fenced block.

    :param language: What stands after the backticks
    :param text: Its lines, without the indentation of the list that it stands in
    :param quoted: The file that it is quoted from; ``None`` where it is not a quotation
    """

    language: str
    text: str
    quoted: Path | None


def blocks(page: Path) -> list[Block]:
    """
    The fenced blocks of a page. One right after a paragraph that ends with a link to a Python file and a colon is a
    quotation; one right after a quotation is another of the same file.

    :param page: Path from the root
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        before = text[end : fence.start()]
        named = _ENDS_WITH_FILE.search(before)
        quoted = (ROOT / page).parent / named["file"] if named else None
        if found and not before.strip():
            quoted = found[-1].quoted
        found.append(Block(fence["language"], textwrap.dedent(fence["text"]), quoted))
        end = fence.end()
    return found


def prose(page: Path) -> str:
    """
    :param page: Path from the root
    :return: the page without its fenced blocks
    """
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """
    :param page: Path from the root
    :return: where its links and pictures lead
    """
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """
    :param page: Path from the root
    :return: its headings as GitHub names them: lower case, hyphens for spaces, no punctuation
    """
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """
    :param text: Lines of a shell script
    :return: each command's words
    """
    for line in text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                command.append(word)
            elif command:
                yield command
                command = []


#: What begins a command in the pages.
PROGRAMS = ("ppo-variants", "pytest", "python", "pip")


def commands_in_prose(page: Path) -> list[list[str]]:
    """
    The commands within the text. Those that stand for several (``train|enjoy``, …) are left out.

    :param page: Path from the root
    """
    found = [" ".join(code.split()) for code in re.findall(rf"`((?:{'|'.join(PROGRAMS)})\s[^`]+)`", prose(page))]
    return [shlex.split(code) for code in found if not re.search(r"[|…]|\.\.\.", code)]


def tables(page: Path, header: str) -> list[list[list[str]]]:
    """
    :param page: Path from the root
    :param header: The first line of the tables wanted
    :return: table, row, cell
    """
    after = prose(page).split(f"{header}\n")[1:]
    # The line of dashes comes first; a table ends with the first line that is no row.
    lines = [text.splitlines()[1:] for text in after]
    ends = [next((i for i, line in enumerate(rows) if not line.startswith("|")), len(rows)) for rows in lines]
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[:end]]
        for rows, end in zip(lines, ends, strict=True)
    ]
