"""What the commands say: results to stdout, everything else, mistakes too, to stderr."""

import os
import shlex
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console


@contextmanager
def clear_errors(resumable: bool = False) -> Iterator[None]:
    """Show a user's mistake, a warning and Ctrl-C as one line each.

    :param resumable: Whether rerunning the interrupted command resumes it; used if the interruption has no message
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # it names only what it uses
            yield
    except KeyboardInterrupt as error:
        say(str(error) or f"interrupted; rerun the command to {'resume' if resumable else 'start again'}")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        say(f"Error: {' '.join(str(error).split())}{_in_whose_code(error)}", style="red")
        raise typer.Exit(2) from None


def _in_whose_code(error: BaseException) -> str:
    """Where in code that is not installed, an environment's say, an error or what caused it was raised; empty if it was
    not."""
    installed = (str(Path(__file__).parent.parent), *sysconfig.get_paths().values(), sys.prefix, sys.base_prefix)
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:  # an error may be its own cause
        chain.append(cause)
    frames = [frame for each in chain for frame in traceback.extract_tb(each.__traceback__)]
    own = [frame for frame in frames if Path(frame.filename).is_file() and not frame.filename.startswith(installed)]
    return f" ({own[-1].filename}, line {own[-1].lineno}, in {own[-1].name})" if own else ""


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    # Path and source line of a warning help developers, not users.
    if issubclass(category, UserWarning):
        say(f"Warning: {' '.join(str(message).split())}", style="yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def say(text: str, style: str = "", console: Console | None = None) -> None:
    """Print one line as it is, by default to stderr."""
    (console or Console(stderr=True)).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def say_written(files: list[Path]) -> None:
    for path in files:
        say(f"written: {path}")


def screen() -> Console:
    """The console for results: as wide as the terminal or ``COLUMNS``, otherwise wide enough for the tables."""
    if sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    return Console(width=int(columns) if columns.isdecimal() and int(columns) else 140)


def command_line() -> str:
    """The command as it was given, for reports: people show them to others, so the database's password is left out."""
    from sb3_ppo_variants.experiments.engine.storage import without_passwords

    return shlex.join(["ppo-variants", *map(without_passwords, sys.argv[1:])])
