"""``ppo-variants figures``."""

from pathlib import Path

from sb3_ppo_variants.cli.console import clear_errors, say_written
from sb3_ppo_variants.cli.options import document_options


@document_options
def figures(out: Path = Path("runs/figures")) -> None:
    """Draw the figures of the documentation.

    :param out: Folder for the pictures
    """
    with clear_errors():
        from sb3_ppo_variants.experiments.figures import draw_figures

        say_written(draw_figures(out))
