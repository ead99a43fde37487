"""SB3's monitor files: a line of JSON, a line of column names, then one line per episode."""

import csv
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

_COLUMNS = ["r", "l", "t"]  # return, length, seconds since the start


class MonitorFile(NamedTuple):
    """A monitor file.

    :param episodes: Return ``r``, length ``l`` and time ``t`` of each episode, in seconds since the epoch where known
    :param environment: Gymnasium id; ``None`` if the file does not say
    :param faults: What cannot be read in it, in sentences with its name
    """

    episodes: pd.DataFrame
    environment: str | None
    faults: list[str]


def read_monitor(path: Path) -> MonitorFile:
    """Read what can be read of a monitor file, which a kill or a full disk may have cut anywhere.

    :param path: The file
    """
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        return MonitorFile(_table([], 0.0), None, [f"{path} is empty"])
    faults: list[str] = []
    header: Mapping[str, Any] | None = None
    if lines[0][1].startswith("#"):
        header = _header(lines.pop(0)[1])
    if header is None:
        faults.append(f"{path} has no complete first line (SB3's #{{...}} with the start and the environment)")
    columns = _COLUMNS
    if lines and not _numbers(lines[0][1], _COLUMNS):
        columns = next(csv.reader([lines.pop(0)[1]]))
        if missing := [column for column in _COLUMNS if column not in columns]:
            what = f"it has no column {', '.join(missing)}, but {', '.join(columns)}"
            return MonitorFile(_table([], 0.0), None, [*faults, f"Cannot read {path}: {what}"])
    read = [(number, line, _numbers(line, columns)) for number, line in lines]
    wrong = [(number, line) for number, line, episode in read if episode is None]
    # The last line is cut while a training runs, and when it has been killed.
    if wrong and (wrong[0] != lines[-1] or len(wrong) == len(lines)):
        number, line = wrong[0]
        faults.append(
            f"Cannot read {path}: {len(wrong)} of its lines hold no episode, the first line {number}: {line:.60}"
        )
    start, environment = (header or {}).get("t_start"), (header or {}).get("env_id")
    since = float(start) if isinstance(start, int | float) else 0.0
    episodes = [episode for _, _, episode in read if episode is not None]
    return MonitorFile(_table(episodes, since), environment if isinstance(environment, str) else None, faults)


def _header(line: str) -> Mapping[str, Any] | None:
    with suppress(ValueError):
        header = json.loads(line.removeprefix("#"))
        return header if isinstance(header, dict) else None
    return None


def _numbers(line: str, columns: list[str]) -> list[float] | None:
    """Return, length and time in a line; ``None`` if it holds no episode."""
    fields = next(csv.reader([line]))
    if len(fields) != len(columns) and not (columns is _COLUMNS and len(fields) > len(columns)):
        return None
    with suppress(ValueError):
        episode = [float(fields[columns.index(column)]) for column in _COLUMNS]
        return episode if not any(map(math.isnan, episode)) and math.isfinite(episode[1]) else None
    return None


def _table(episodes: list[list[float]], since: float) -> pd.DataFrame:
    table = pd.DataFrame(episodes, columns=_COLUMNS, dtype=float)
    return table.assign(t=table["t"] + since)
