"""``ppo-variants record``."""

import os
import sys
from pathlib import Path

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, say, screen
from sb3_ppo_variants.cli.options import document_options


@document_options
def record(
    path: options.Model,
    out: Path | None = None,
    env: options.TrainedOn = None,
    algo: options.TrainedWith = None,
    episodes: options.Episodes = 1,
    max_steps: int = 1000,
    seed: options.PlaySeed = 10_000,
    stochastic: options.Stochastic = False,
    normalization: options.Statistics = None,
) -> None:
    """Record a trained model as a GIF or a video.

    :param out: A .gif file, or an .mp4 file with the video extra (default: agent.gif beside the model)
    :param max_steps: Largest number of steps
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Set before mujoco and pygame are imported, these make them draw without a display.
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with clear_errors():
        from sb3_ppo_variants.experiments.models.recording import record as record_model

        made = record_model(
            path,
            out,
            env,
            algo,
            episodes=episodes,
            max_steps=max_steps,
            seed=seed,
            deterministic=not stochastic,
            normalization=normalization,
        )
        returns = ", ".join(f"{episode_return:.2f}" for episode_return in made.returns)
        ended = f"return {returns}" if returns else "no episode ended"
        text = f"{made.path}: {made.algorithm} on {made.environment}, {made.steps} steps, {ended}"
        say(f"{text}, {made.normalization}", console=screen())
