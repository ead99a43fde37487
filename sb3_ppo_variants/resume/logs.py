"""The state of a logger: what its files hold, and what it has yet to write."""

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.logger import (
    CSVOutputFormat,
    JSONOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
)

from sb3_ppo_variants.resume.layers import rewrite, written
from sb3_ppo_variants.resume.pickles import can_be_kept

_ITERATIONS = "time/iterations"
# In the name of an event file, before the run that a resume continues in it.
_RESUMED = ".resumed-"


class LogState(NamedTuple):
    """
    :param pending: Values recorded but not yet written (``train()`` records after ``learn`` has written)
    :param iterations: Iterations of the training so far
    :param writers: Name of the class, and contents of the file, of each output format in order
    """

    pending: dict[str, dict[str, Any]]
    iterations: int
    writers: list[tuple[str, Any]]


class IterationOffset(KVWriter):
    """
    Adds to ``time/iterations``, which each call of ``learn`` counts from 1. It comes before the other writers.

    :param before: Iterations before this call of ``learn``
    """

    def __init__(self, before: int):
        self.before = before

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """
        :param key_values: Edited in place
        :param key_excluded: Not used
        :param step: Not used
        """
        if _ITERATIONS in key_values:
            key_values[_ITERATIONS] += self.before

    def close(self) -> None:
        """Nothing to close."""


def capture_logs(logger: Logger, iterations: int) -> LogState:
    """
    :param logger: The model's logger
    :param iterations: Iterations of the training so far
    :return: its state
    """
    pending = {
        name: {key: value for key, value in getattr(logger, name).items() if can_be_kept(value)}
        for name in ("name_to_value", "name_to_count", "name_to_excluded")
    }
    return LogState(pending, iterations, [(type(w).__name__, _written(w)) for w in _writers(logger)])


def restore_logs(logger: Logger, state: LogState) -> None:
    """
    Give the files their former contents, so that no line is missing or repeated.

    :param logger: The model's logger, made in the same way as the captured one
    :param state: The state
    """
    for name, values in state.pending.items():
        getattr(logger, name).clear()
        getattr(logger, name).update(values)
    logger.output_formats = [IterationOffset(state.iterations), *_writers(logger)]
    kept = list(state.writers)
    for writer in _writers(logger):
        of_class = next((one for one in kept if one[0] == type(writer).__name__), None)
        if of_class is not None:
            kept.remove(of_class)
            _rewind(writer, of_class[1])


def _writers(logger: Logger) -> list[KVWriter]:
    return [writer for writer in logger.output_formats if not isinstance(writer, IterationOffset)]


def _written(writer: Any) -> Any:
    if isinstance(writer, TensorBoardOutputFormat):
        writer.writer.flush()
        opened = _event_file(writer)
        own = [file for file in _event_files(opened.parent) if _run_of(file) == _run_of(opened)]
        return opened.parent, {file.name: file.stat().st_size for file in own}
    if not _has_file(writer):
        return None
    return written(writer.file), list(writer.keys) if isinstance(writer, CSVOutputFormat) else None


def _rewind(writer: Any, contents: Any) -> None:
    if isinstance(writer, TensorBoardOutputFormat):
        _rewind_events(writer, *contents)
    elif contents is not None and _has_file(writer):
        rewrite(writer.file, contents[0])
        if isinstance(writer, CSVOutputFormat):
            writer.keys = contents[1]


def _has_file(writer: Any) -> bool:
    return isinstance(writer, CSVOutputFormat | JSONOutputFormat) or getattr(writer, "own_file", False)


def _event_file(writer: TensorBoardOutputFormat) -> Path:
    """The file that it has opened: its folder may hold those of other runs."""
    summary: Any = writer.writer
    return Path(summary.file_writer.event_writer._file_name)


def _run_of(file: Path) -> str:
    """Which run an event file is of: files that a resume has opened end with it."""
    _, _, run = file.name.partition(_RESUMED)
    return run or hashlib.sha256(file.name.encode()).hexdigest()[:16]


def _event_files(folder: Path) -> list[Path]:
    return list(folder.glob("events.out.tfevents.*"))


def _rewind_events(writer: TensorBoardOutputFormat, folder: Path, sizes: dict[str, int]) -> None:
    """Cut off what this run wrote after the checkpoint, and continue in a new file in the same folder."""
    # Where SB3 has increased the folder's number, or taken that of another run.
    opened = _event_file(writer)
    writer.writer.close()
    if opened.parent != folder or opened.name not in sizes:  # a logger that is used again is in the checkpoint's file
        opened.unlink()
    if opened.parent != folder and not any(opened.parent.iterdir()):
        opened.parent.rmdir()
    run = _run_of(Path(next(iter(sizes), opened.name)))
    for file in _event_files(folder):
        if file.name in sizes:
            os.truncate(file, min(sizes[file.name], file.stat().st_size))
        elif _run_of(file) == run:
            file.unlink()
    writer.writer = type(writer.writer)(log_dir=str(folder), filename_suffix=_RESUMED + run)
