"""Checkpoint files: written completely or not at all, and read only if they are complete."""

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from sb3_ppo_variants.files import atomic

SUFFIX = ".checkpoint"
_NAME = re.compile(r"step-(\d+)" + re.escape(SUFFIX))
_FORMAT = "sb3_ppo_variants checkpoint 1"


class Checkpoint(NamedTuple):
    """
    :param path: The file
    :param about: Which run it belongs to and how far that run is, as JSON values
    :param snapshot: The pickled state
    """

    path: Path
    about: dict[str, Any]
    snapshot: bytes


class DamagedCheckpoint(ValueError):  # noqa: N818 (what it is)
    """A file that is not a complete checkpoint of this format."""


def write_checkpoint(folder: Path, steps: int, about: dict[str, Any], snapshot: bytes) -> Path:
    """
    :param folder: The folder of checkpoints
    :param steps: Steps trained
    :param about: What can be read without unpickling, as JSON values
    :param snapshot: The pickled state
    :return: the file
    :raises OSError: it could not be written; nothing has changed then
    """
    path = folder / f"step-{steps:012d}{SUFFIX}"
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(_packed(about, snapshot))
    except OSError as error:
        before = newest_path(folder)
        left = f"{before} is as it was, and can be resumed from." if before else "There was none before it."
        raise OSError(
            error.errno, f"{error.strerror or error}: the checkpoint at step {steps} was not written. {left}", str(path)
        ) from error
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """
    :param path: A file
    :return: its contents, with the state still pickled
    :raises DamagedCheckpoint: it is not complete, or of another format
    """
    try:
        head, _, snapshot = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error}") from error
    digest, _, about = head.partition(b" ")
    if hashlib.sha256(about + b"\n" + snapshot).hexdigest().encode() != digest:
        raise DamagedCheckpoint(f"{path} is damaged: its checksum is wrong.")
    described = json.loads(about)
    if described.get("format") != _FORMAT:
        raise DamagedCheckpoint(f"{path} is of format {described.get('format')!r}; this version reads {_FORMAT!r}.")
    return Checkpoint(path, described, zlib.decompress(snapshot))


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """
    :param folder: The folder of checkpoints
    :return: the newest complete checkpoint, and what is wrong with the newer files
    """
    faults: list[str] = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            return read_checkpoint(path), faults
        except DamagedCheckpoint as error:  # noqa: PERF203 (a few files)
            faults.append(str(error))
    return None, faults


def checkpoint_paths(folder: Path) -> list[Path]:
    """
    :param folder: The folder of checkpoints
    :return: the files, in order of steps
    """
    found = [(int(match[1]), path) for path in folder.glob(f"*{SUFFIX}") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def newest_path(folder: Path) -> Path | None:
    """
    :param folder: The folder of checkpoints
    :return: the newest file, complete or not
    """
    return next(reversed(checkpoint_paths(folder)), None)


def refuse_earlier_run(folder: Path) -> None:
    """
    :param folder: The folder for the checkpoints of a new run
    :raises ValueError: it holds checkpoints
    """
    if newest := newest_path(folder):
        raise ValueError(
            f"There are checkpoints of an earlier run in {folder}, the newest {newest.name}: pass resume=True "
            "(--resume) to go on with it, or another folder (each learn() needs its own), or remove them."
        )


def remove_old(folder: Path, keep: int, newest: Path) -> None:
    """
    :param folder: The folder of checkpoints
    :param keep: How many of the newest to keep
    :param newest: The one just written. Files of later steps, which could not be read, are left as they are
    """
    paths = checkpoint_paths(folder)
    for path in paths[: paths.index(newest) + 1][:-keep]:
        path.unlink(missing_ok=True)


def _packed(about: dict[str, Any], snapshot: bytes) -> bytes:
    # Their checksum, one line of JSON that people can read, and the compressed snapshot.
    body = json.dumps({"format": _FORMAT, **about}, sort_keys=True).encode() + b"\n" + zlib.compress(snapshot, 1)
    return hashlib.sha256(body).hexdigest().encode() + b" " + body
