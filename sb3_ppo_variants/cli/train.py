"""``ppo-variants train``."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, say, screen
from sb3_ppo_variants.cli.options import document_options

PROGRESS_SECONDS = 10.0  # between two lines about a training whose progress is not shown on a terminal


@document_options
def train(
    algo: options.Algorithm,
    env: str,
    timesteps: options.Timesteps = 50_000,
    seed: int = 0,
    n_envs: options.NEnvs = 1,
    rollout_workers: options.RolloutWorkers = None,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    normalize: options.Normalize = None,
    out: Path | None = None,
    checkpoint_every: int | None = None,
    resume: Annotated[bool, typer.Option("--resume")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    start_from: Annotated[Path | None, typer.Option("--from")] = None,
    eval_every: int | None = None,
    eval_episodes: int = 10,
    tensorboard: Path | None = None,
) -> None:
    """Train one model with its algorithm's own defaults and save it as OUT/model.zip.

    With --checkpoint-every N, rerun an interrupted or killed command to resume it.
    It ends with exactly the same parameters and curves as without the interruption.
    With --resume and more --timesteps, a finished run is extended.

    :param env: Gymnasium id, or package.module:Class or function
    :param seed: Seed of the algorithm and its environments
    :param settings: argument=value, e.g. clip_range=0.1 or policy_kwargs.activation_fn=ReLU; repeatable
    :param out: Run folder (default: runs/ALGO-ENV-seedS, numbered if that holds another run)
    :param checkpoint_every: Steps between checkpoints in OUT/checkpoints (default: no checkpoints)
    :param resume: Resume from the newest checkpoint, if there is one, or extend a finished run to more --timesteps
    :param overwrite: Replace another run in OUT
    :param start_from: Start from this model: a run folder, a zip or a .safetensors file, with its policy, optimizer,
        settings and normalisation; --set replaces settings
    :param eval_every: Steps between evaluations; the best model is kept as OUT/best/best_model.zip (default: none)
    :param eval_episodes: Episodes of an evaluation
    :param tensorboard: Folder for a TensorBoard log of the run
    """
    with clear_errors():
        from sb3_ppo_variants.experiments.models.training import train as train_one
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments

        with _training_progress(timesteps) as report:
            trained = train_one(
                algo,
                env,
                timesteps=timesteps,
                seed=seed,
                n_envs=n_envs,
                rollout_workers=rollout_workers,
                settings=parse_assignments(settings or [], algo).get(algo, {}),
                normalize=normalize,
                out=out,
                report=report,
                checkpoint_every=checkpoint_every,
                resume=resume,
                overwrite=overwrite,
                start_from=start_from,
                eval_every=eval_every,
                eval_episodes=eval_episodes,
                tensorboard=tensorboard,
            )
        result = trained.result
        if trained.resumed_at == result.steps:
            say("The run was already finished; --overwrite trains it again, --resume with more --timesteps extends it")
        elif trained.resumed_at is not None:
            say(f"resumed at step {trained.resumed_at}")
        score = "no episode finished" if result.final_return is None else f"final return {result.final_return:.2f}"
        speed = f"{result.steps} steps, {result.steps_per_second:.0f} steps/s"
        say(f"{trained.out / 'model.zip'}: {score}, {speed}", console=screen())
        if trained.best is not None:
            best, step = trained.best
            say(f"{trained.out / 'best/best_model.zip'}: mean return {best:.2f} at step {step}", console=screen())


@contextmanager
def _training_progress(timesteps: int) -> Iterator[Callable[[int, float], None]]:
    """Show how far a training is and the time left: a bar on a terminal, elsewhere a line every few seconds."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    said = began = time.monotonic()
    first: int | None = None  # steps at the first report: a resumed training does not begin at 0
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("training", total=timesteps)

        def report(steps: int, mean_return: float) -> None:
            nonlocal said, began, first
            done, now = min(steps, timesteps), time.monotonic()
            shown = "no episode yet" if math.isnan(mean_return) else f"return {mean_return:.1f}"
            progress.update(bar, completed=done, description=shown)
            if first is None:
                first, began = done, now
            if not console.is_terminal and now - said >= PROGRESS_SECONDS and done > first:
                left = (timesteps - done) * (now - began) / (done - first)
                say(f"{done:,} of {timesteps:,} steps, {shown}, about {left:.0f} s left")
                said = now

        yield report
