"""``ppo-variants plot``."""

from pathlib import Path
from typing import Annotated

import typer

from sb3_ppo_variants.cli.console import clear_errors, say_written
from sb3_ppo_variants.cli.options import document_options


@document_options
def plot(paths: Annotated[list[Path], typer.Argument()], out: Path | None = None) -> None:
    """Draw the learning curves and diagnostics of run folders.

    :param paths: Run folders of train or compare, or folders with SB3's monitor.csv or progress.csv
    :param out: Folder for the pictures (default: the given folder, or runs/plots for several)
    """
    with clear_errors():
        from sb3_ppo_variants.experiments.models.run_plots import plot_runs

        say_written(plot_runs(paths, out))
