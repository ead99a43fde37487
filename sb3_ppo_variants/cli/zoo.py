"""``ppo-variants zoo``."""

from typing import Annotated

import typer

from sb3_ppo_variants.cli.console import clear_errors
from sb3_ppo_variants.cli.options import document_options


@document_options
def zoo(
    script: Annotated[str, typer.Argument()],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS")] = None,
) -> None:
    """Run RL Baselines3 Zoo's scripts with our algorithms: zoo train --algo clip_ppo --env CartPole-v1, zoo enjoy, …

    :param script: train, enjoy, record_video, record_training, plots, plot_train, plot_from_file, …
    :param arguments: Arguments of rl_zoo3's script; --help lists them
    """
    with clear_errors():
        from sb3_ppo_variants.zoo import run

        run(script, arguments or [])
