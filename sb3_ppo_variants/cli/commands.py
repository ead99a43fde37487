"""The ``ppo-variants`` command: one module per command, put together here.

The commands import what they need themselves, so that ``--help`` is fast.
"""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sb3_ppo_variants.cli.compare import compare
from sb3_ppo_variants.cli.console import say, screen
from sb3_ppo_variants.cli.evaluate import evaluate
from sb3_ppo_variants.cli.figures import figures
from sb3_ppo_variants.cli.plot import plot
from sb3_ppo_variants.cli.record import record
from sb3_ppo_variants.cli.speed import speed
from sb3_ppo_variants.cli.train import train
from sb3_ppo_variants.cli.tune import tune
from sb3_ppo_variants.cli.worker import worker
from sb3_ppo_variants.cli.zoo import zoo
from sb3_ppo_variants.terminal import make_streams_safe

app = typer.Typer(
    help="Compare, tune, train and evaluate PPO variants. Rerun an interrupted comparison or study to resume it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes [words] in brackets for markup, and breaks words in narrow terminals
    context_settings={"max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        from sb3_ppo_variants import __version__

        say(f"sb3_ppo_variants {__version__}", console=screen())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _add(command: Callable[..., None], **how: Any) -> None:
    # The list of commands shows this text whole; one that typer takes from the docstring would be cut.
    app.command(short_help=(command.__doc__ or "").partition("\n\n")[0], **how)(command)


for _command in (compare, tune, train, evaluate, speed, figures, record, plot):
    _add(_command)
_add(zoo, context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
_add(worker, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})


def main() -> None:
    """Entry point of the ``ppo-variants`` command."""
    make_streams_safe()
    # Your own package.module:Class is found in the current folder, after all installed packages.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    app()
