"""Files that are written completely or not at all, and files named together with their contents."""

import csv
import hashlib
import io
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_MARK = ".unfinished-"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """
    A temporary path in the same folder that replaces ``path`` when the block ends without an error.

    The contents are flushed to the disk before the file is renamed. A kill or a power cut therefore leaves the old file
    or the new one, and at worst a temporary file as well.

    :param path: The file to write; its folder is made
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_MARK, suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # only its owner can read a file of mkstemp's
        _to_disk(temporary, os.O_RDWR)
        os.replace(temporary, path)
        # Flush the folder too, where the system can open one.
        with suppress(OSError):
            _to_disk(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """
    :param folder: A folder in which a killed process may have left temporary files, and to which nobody writes now
    """
    for temporary in folder.glob(f"{_MARK}*"):
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, refuse: Callable[[str], Exception]) -> Iterator[None]:
    """
    A context that one process at a time can be in. The lock is the operating system's and dies with its holder; Windows
    and some file systems have none, and nothing is refused there.

    :param path: The file that is locked, and removed at the end; its folder is made
    :param refuse: Makes the error from the holder's name
    :raises refuse: another process holds it
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise refuse(file.read() or "another process") from None
            except OSError:
                yield
                return
            if not _is_at(path, file):
                continue  # its holder has just removed it
            file.truncate(0)
            file.write(this_process())
            file.flush()
            try:
                yield
            finally:
                if _is_at(path, file):
                    path.unlink(missing_ok=True)
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still what is found at a path."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def this_process() -> str:
    """
    :return: the name of this process, for people looking for what is running
    """
    return f"process {os.getpid()} on {socket.gethostname()}"


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
    """A text as part of a file name that every system allows: ``sb3:ppo`` becomes ``sb3-ppo``.

    :param text: Name of an algorithm or environment
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")


def safe_names(texts: Iterable[str]) -> list[str]:
    """Several texts as parts of file names (:func:`safe_name`), numbered where one would be taken for another.

    :param texts: Names of environments, say
    """
    names: list[str] = []
    for name in map(safe_name, texts):
        numbered = (name, *(f"{name}_{number}" for number in range(2, len(names) + 2)))
        names.append(next(one for one in numbered if one not in names))
    return names


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


_DIGEST = re.compile(r"(?P<path>.+)#sha256=(?P<digest>[0-9a-f]{64})", re.DOTALL)


def with_digest(path: str | os.PathLike[str]) -> str:
    """
    Name a file together with its contents, so that another file under the same path is not taken for it.

    :param path: The file; it may have its digest already, and is then not read
    :return: ``path#sha256=…``
    :raises ValueError: there is no such file
    """
    name = os.fspath(path)
    return name if _DIGEST.fullmatch(name) else f"{name}#sha256={_sha256(_with_suffix(Path(name)))}"


def checked_path(name: str | os.PathLike[str]) -> Path:
    """
    :param name: A file, with or without its digest
    :return: its path
    :raises ValueError: there is no such file, or it has other contents
    """
    named = _DIGEST.fullmatch(os.fspath(name))
    path = _with_suffix(Path(named["path"] if named else name))
    if (found := _sha256(path)) != (named["digest"] if named else found):
        raise ValueError(f"{path} has changed: its SHA-256 is {found} and not {named and named['digest']}.")
    return path


def _with_suffix(path: Path) -> Path:
    """The path, or the file that a model was saved to under this name: ``load`` adds the suffix, too."""
    candidates = (path, *(path.with_name(path.name + suffix) for suffix in (".zip", ".safetensors")))
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
