"""``ppo-variants compare``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, command_line, say_written, screen
from sb3_ppo_variants.cli.options import document_options


@document_options
def compare(
    env: list[str] | None = None,
    algo: list[str] | None = None,
    timesteps: int | None = None,
    wall_time: float | None = None,
    timeout: float | None = None,
    seeds: int | None = None,
    seed: list[int] | None = None,
    n_envs: options.NEnvs = 1,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    preset: str | None = None,
    reading: str = "paper",
    normalize: options.Normalize = None,
    peer_defaults: Annotated[bool, typer.Option("--peer-defaults")] = False,
    jobs: options.Jobs = None,
    rollout_workers: options.RolloutWorkers = None,
    executor: options.Executor = "local",
    storage: options.Storage = None,
    imports: options.Imports = None,
    export: options.Export = None,
    out: Path | None = None,
    report_only: Annotated[bool, typer.Option("--report-only")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    keep_models: str | None = None,
) -> None:
    """Train every algorithm in every environment with every seed, and report how they compare.

    Rerun an interrupted or killed command to resume it.
    The exit code is 1 if a run has failed.

    :param env: Gymnasium id, or your own package.module:Class or function; repeatable (default: CartPole-v1)
    :param algo: clip_ppo, kl_penalty_ppo, unclipped_ppo, reinforce, paper_trpo, sb3:ppo, spo, rollback_ppo,
        discovered_ppo, scopic_ppo, sb3:a2c, contrib:trpo, contrib:maskable_ppo, contrib:recurrent_ppo, or
        package.module:Class; NAME=ALGO names a variant; repeatable (default: the first six). The others are compared
        with sb3:ppo if it is among them, else with the first. With --preset: variants of the preset
    :param timesteps: Training steps per run (default: 50000, or the preset's)
    :param wall_time: Seconds of training after which each run ends, instead of --timesteps
    :param timeout: Seconds after which a run fails, for environments that may hang
    :param seeds: Runs per variant and environment, with seeds 0, 1, … (default: 5, or the preset's)
    :param seed: Run this seed, instead of --seeds; repeatable
    :param settings: variant.argument=value, e.g. clip_ppo.clip_range=0.1; argument=value for all variants; repeatable
    :param preset: table1: Table 1 of the PPO paper; trust_regions: newer and older ways to restrain the step; --env,
        --algo, --seeds and --timesteps select a part
    :param reading: paper or sb3: whose conventions the preset uses where the paper does not say
    :param peer_defaults: Keep the peers' own defaults instead of our documented ones
    :param out: Folder for the ledger, CSV files, pictures and report (default: runs/compare or runs/PRESET,
        numbered if that holds another comparison)
    :param report_only: Run nothing; report the finished runs and what is missing
    :param overwrite: Replace another comparison's report in OUT; its finished runs stay in the ledger
    :param keep_models: best: save the model of the best run of each variant and environment, as a run folder in
        OUT/models for evaluate, record and train --from; all: of every run (default: keep no models)
    """
    with clear_errors(resumable=True):
        from sb3_ppo_variants.experiments.comparison.comparison import compare as run_comparison
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments

        if not (env or algo or preset):
            raise ValueError(
                "compare needs to know what to compare. For example: ppo-variants compare --env CartPole-v1 "
                "--algo clip_ppo --algo sb3:ppo --seeds 5, or --preset table1. Without --algo, six algorithms are "
                "compared; --help lists all options"
            )
        if seed and seeds is not None:
            raise ValueError(f"--seeds {seeds} says how many seeds, --seed {seed[0]} which: give one of the two")
        comparison = run_comparison(
            env or None,
            algo or None,
            timesteps=timesteps,
            seeds=seed or seeds,
            n_envs=n_envs,
            settings=parse_assignments(settings or []),
            peer_defaults=peer_defaults,
            preset=preset,
            reading=reading,
            normalize=normalize,
            wall_time=wall_time,
            timeout=timeout,
            jobs=jobs,
            rollout_workers=rollout_workers,
            executor=executor,
            storage=storage,
            imports=imports or (),
            export=export,
            out=out,
            report_only=report_only,
            overwrite=overwrite,
            keep_models=keep_models,
            command=command_line(),
            console=Console(stderr=True),
        )
        say_written([*comparison.files, *comparison.models])
        comparison.report.show(screen())  # the verdict is the last line
    if comparison.failed:
        raise typer.Exit(1)
