"""Text and CSV files that are either there in full or not at all."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sb3_ppo_variants.atomic_files import atomic

__all__ = ["atomic", "safe_name", "write_csv", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    :param path: The file
    :param text: Its contents
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically; ``None`` becomes an empty field.

    :param path: The file
    :param header: Column names
    :param rows: The rows
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def safe_name(text: str) -> str:
    """A name usable as part of a file name on every system: ``sb3:ppo`` becomes ``sb3-ppo``.

    :param text: Name of an algorithm or environment
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
