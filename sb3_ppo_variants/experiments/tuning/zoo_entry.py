"""Confirmed settings as an entry of an rl_zoo3 configuration file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.files import atomic, safe_name

# What an entry says beside the constructor's arguments, in the order in which rl_zoo3's own files have it.
OWN_KEYS = ("n_envs", "n_timesteps", "policy")
MARK = "# tuned: "
# How our files say above an entry where it is from. That goes with the entry when it is replaced; any other comment is
# somebody's own.
PAPERS = ("# Paper: ", "# Paper's settings")
ORIGINS = (MARK, "# Documented defaults", *PAPERS)


def is_papers(algorithm: str, environment: str, path: str | Path) -> bool:
    """Whether a file has the paper's settings for an environment: they are there to be compared with.

    :param algorithm: Zoo id
    :param environment: Gymnasium id
    :param path: The folder
    """
    file = Path(path) / f"{safe_name(algorithm)}.yml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    start = next((i for i, line in enumerate(lines) if _key_of(line) == environment), 0)
    return start > 0 and lines[start - 1].startswith(PAPERS)


def write_entry(
    algorithm: str,
    environment: str,
    settings: Mapping[str, Any],
    timesteps: int,
    n_envs: int,
    policy: str,
    note: str,
    path: str | Path,
) -> Path:
    """Insert an entry into ``<path>/<algorithm>.yml``, or put it in the place of the environment's old one.

    The comment that says where the old entry was from goes with it; the rest of the file stays as it is, to the byte.
    To be called with confirmed settings only.

    :param algorithm: Zoo id
    :param environment: Gymnasium id, the entry's key
    :param settings: Constructor argument → value; numbers, strings, booleans, ``None``, or lists and dicts of these
    :param timesteps: Training steps
    :param n_envs: Environments stepped together
    :param policy: ``"MlpPolicy"`` and the like
    :param note: What tuned it; a comment above the entry
    :param path: The folder; made if it is not there
    :return: The file
    :raises ValueError: when the file is not YAML with one entry an environment, or cannot take the entry unharmed
    """
    algorithm_class(algorithm)
    if clash := [key for key in OWN_KEYS if key in settings and key != "policy"]:
        raise ValueError(f"{clash[0]!r} is not a constructor argument but the entry's own: pass it as such")
    values = {"n_envs": n_envs, "n_timesteps": timesteps, "policy": policy} | dict(settings)
    file = Path(path) / f"{safe_name(algorithm)}.yml"
    before = file.read_bytes().decode("utf-8") if file.exists() else ""
    old = _read(before, file)
    newline = "\r\n" if "\r\n" in before else "\n"
    after = _put(before, environment, _entry(environment, values, note, newline), newline)
    if after is None or not _holds(after, {**old, environment: values}):
        raise ValueError(
            f"The entry of {environment!r} does not fit into {file} without harm to the others: entries start in the "
            f"first column, one an environment, and refer to each other only upwards. Add it by hand: "
            f"{json.dumps(values)}"
        )
    with atomic(file) as temporary:
        temporary.write_bytes(after.encode("utf-8"))
    return file


def _holds(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == expected)
    except yaml.YAMLError:
        return False


def _read(text: str, file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict | None):
        raise ValueError(f"{file} holds {type(found).__name__}, not one entry an environment")
    return dict(found or {})


def _entry(environment: str, values: Mapping[str, Any], note: str, newline: str) -> list[str]:
    comment = [MARK + line for line in note.splitlines()]
    lines = [*comment, f"{_key(environment)}:", *(f"  {_key(k)}: {_scalar(v)}" for k, v in values.items())]
    return [line + newline for line in lines]


def _key(text: str) -> str:
    return (
        text if re.fullmatch(r"[A-Za-z][\w/-]*(?:\.\d+)?", text) and yaml.safe_load(text) == text else json.dumps(text)
    )


def _scalar(value: Any) -> str:
    """JSON is YAML, but for numbers such as ``3e-05``, which YAML 1.1 takes for text without a point."""
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)}: {_scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _put(text: str, environment: str, entry: list[str], newline: str) -> str | None:
    """``None`` when the environment has an entry that does not start in the first column."""
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if _key_of(line) == environment), None)
    if start is None:
        if environment in (yaml.safe_load(text) or {}):
            return None
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += newline
        gap = [newline] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, *entry])
    # The entry ends with its last indented line; blank lines and comments after that belong to what follows.
    end = i = start + 1
    while i < len(lines) and (not lines[i].strip() or lines[i][0] in " \t#"):
        i += 1
        end = i if lines[i - 1].strip() and lines[i - 1][0] in " \t" else end
    while start and lines[start - 1].startswith(ORIGINS):
        start -= 1
    return "".join([*lines[:start], *entry, *lines[end:]])


def _key_of(line: str) -> str | None:
    """The key that a line in the first column opens, ``None`` for any other line."""
    if not line.strip() or line[0] in " \t#-":
        return None
    try:
        found = yaml.safe_load(line)
    except yaml.YAMLError:
        return None
    return next(iter(found)) if isinstance(found, dict) and len(found) == 1 else None
