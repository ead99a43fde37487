"""Standard streams that any text can be written to: no encoding, closed pipe or lost terminal ends a command."""

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterable

#: The name of the error handler of encodings.
PLAIN = "sb3_ppo_variants.plain"
_LOST = (errno.EPIPE, errno.EIO, errno.EBADF)
_SIGNS = "–—−‑•·×±…→‖‘’“”≥≤µμ∞αβγδελρτ"
_SPELT = "- - - - * - x +- ... -> || ' ' \" \" >= <= u u inf alpha beta gamma delta epsilon lambda rho tau"
_PLAINER = dict(zip(_SIGNS, _SPELT.split(), strict=True))


def plainer(text: str) -> str:
    """A text in ASCII: signs by their usual spelling, letters without accents, ``?`` for anything else.

    :param text: The text
    """
    return "".join(map(_plain_character, text))


def _plain_character(character: str) -> str:
    if character in _PLAINER:
        return _PLAINER[character]
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _encode_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plainer(error.object[error.start : error.end]), error.end


class _Stream(io.TextIOWrapper):
    """A text stream that goes to the null device once its reader or terminal is gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._detach_reader(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._detach_reader(error)

    def _detach_reader(self, error: OSError) -> None:
        if error.errno not in _LOST:
            raise error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def make_streams_safe() -> None:
    """Replace the standard streams of this process: closed ones by the null device, the others by forgiving ones.

    Characters that an encoding lacks are written in plain ASCII. Text written after a pipe has been closed, or a
    terminal has gone, is lost.
    """
    codecs.register_error(PLAIN, _encode_error)
    # In this order: each takes the lowest free file descriptor, so no other file is taken for a standard stream.
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (for the life of the process)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors=PLAIN))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            encoding, line_buffering, write_through = stream.encoding, stream.line_buffering, stream.write_through
            safe = _Stream(stream.detach(), encoding, PLAIN, line_buffering=line_buffering, write_through=write_through)
            setattr(sys, name, safe)
            setattr(sys, f"__{name}__", safe)
