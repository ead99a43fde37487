"""Files that are either there in full or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = ".unfinished-"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """
    A temporary path beside ``path`` that takes its place when the block ends well.

    Its contents are on the disk before the name is: whoever is killed, or loses power, leaves the old file or the new
    one, and at worst a temporary file besides.

    :param path: The file to write; its folder is made
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_MARK, suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files for their owner alone
        _to_disk(temporary, os.O_RDWR)
        os.replace(temporary, path)
        # The name too. Not every system lets a folder be opened.
        with suppress(OSError):
            _to_disk(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """
    :param folder: Where a killed process may have left temporary files, and nobody is writing now
    """
    for temporary in folder.glob(f"{_MARK}*"):
        temporary.unlink(missing_ok=True)


def _to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
