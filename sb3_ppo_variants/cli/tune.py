"""``ppo-variants tune``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, command_line, say_written, screen
from sb3_ppo_variants.cli.options import document_options


@document_options
def tune(
    algo: options.Algorithm,
    env: options.Environments = ["CartPole-v1"],  # noqa: B006 (typer only reads it)
    trials: int = 40,
    timesteps: options.Timesteps = 50_000,
    seeds: int = 3,
    n_envs: options.NEnvs = 1,
    sampler: str = "tpe",
    sampler_seed: int = 0,
    only: list[str] | None = None,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    space: Path | None = None,
    reference: list[str] | None = None,
    pruning: bool = False,
    trial_timeout: float | None = None,
    confirm: int = 3,
    test_seeds: int = 10,
    jobs: options.Jobs = None,
    rollout_workers: options.RolloutWorkers = None,
    executor: options.Executor = "local",
    storage: options.Storage = None,
    zoo_configs: Path | None = None,
    imports: options.Imports = None,
    export: options.Export = None,
    out: Path | None = None,
) -> None:
    """Search settings, then run the best and the defaults again on new seeds and test whether the best are better.

    Rerun an interrupted or killed command to resume it; with more --trials it extends the study.
    The exit code is 1 if no trial has finished.

    :param trials: Trials in total; the first has the documented defaults
    :param seeds: Tuning seeds: runs per trial and environment
    :param sampler: tpe, random or gp
    :param sampler_seed: Seed of the sampler
    :param only: Search only this argument, e.g. clip_range; repeatable
    :param settings: argument=value of every trial, e.g. clip_range_vf=0.2; repeatable
    :param space: Your own search space, a JSON, YAML or TOML file: argument: [0.1, 0.2], or argument: {kind: real,
        low: 0.1, high: 0.3, log: true}; kinds are real, integer, complement (1 - x on a logarithmic scale), choice
        (values) and band_ratio (a multiple of clip_range)
    :param reference: ENV=RANDOM,REFERENCE: the returns that count as 0 and 1; repeatable
    :param pruning: After each run, end a trial that scores below most of the earlier ones
    :param trial_timeout: Seconds that a trial's runs may take together, and each run of the confirmation; after that it
        fails
    :param confirm: Number of best settings to run again; 0 for none
    :param test_seeds: Seeds of the confirmation, at least 10
    :param zoo_configs: Folder for ALGO.yml of a confirmed winner (default: OUT/zoo_configs)
    :param out: Folder for the ledger and report (default: runs/tune-ALGO)
    """
    with clear_errors(resumable=True):
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments
        from sb3_ppo_variants.experiments.tuning.plan import parse_references
        from sb3_ppo_variants.experiments.tuning.progress import show
        from sb3_ppo_variants.experiments.tuning.study import tune as run_study

        tuned = run_study(
            algo,
            env,
            trials=trials,
            timesteps=timesteps,
            seeds=seeds,
            n_envs=n_envs,
            jobs=jobs,
            rollout_workers=rollout_workers,
            executor=executor,
            sampler=sampler,
            sampler_seed=sampler_seed,
            only=only or (),
            settings=parse_assignments(settings or [], algo).get(algo, {}),
            space=space,
            references=parse_references(reference or []),
            pruning=pruning,
            trial_timeout=trial_timeout,
            confirm=confirm,
            test_seeds=test_seeds,
            storage=storage,
            zoo_configs=zoo_configs,
            imports=imports or (),
            export=export,
            out=out,
            console=Console(stderr=True),
            command=command_line(),
        )
        show(tuned, screen())
        say_written(tuned.files)
    if tuned.best is None:
        raise typer.Exit(1)
