"""The ``ppo-variants`` command. The commands import what they need themselves, so that ``--help`` is fast."""

import functools
import inspect
import json
import math
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sb3_ppo_variants.terminal import make_streams_safe

app = typer.Typer(
    help="Compare, tune, train and evaluate PPO variants. Rerun an interrupted comparison or study to resume it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes [words] in brackets for markup, and breaks words in narrow terminals
    context_settings={"max_content_width": 100},
)

# Options that several commands have.
Algorithm = Annotated[str, typer.Option("--algo", help="Zoo id, sb3:NAME, contrib:NAME, or package.module:Class")]
Environments = Annotated[list[str], typer.Option("--env", help="Gymnasium id; repeatable")]
Timesteps = Annotated[int, typer.Option(help="Training steps per run")]
NEnvs = Annotated[int, typer.Option(help="Environments stepped together in a run")]
Normalize = Annotated[
    str | None, typer.Option(help="observations, rewards or both: scale them by running statistics (VecNormalize)")
]
Jobs = Annotated[
    int | None, typer.Option(help="Runs under way at once, one thread each (default: as many as there are cores for)")
]
RolloutWorkers = Annotated[
    int | None,
    typer.Option(
        help="Processes that hold the policy and collect whole rollouts, per run, at most one per environment "
        "(default: none, the run steps its environments itself)"
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        help="Where runs are done: local, dask:tcp://HOST:PORT, submitit:slurm, submitit:local, or submitit (SLURM "
        "where it is installed, else this machine)"
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(help="Database of the ledger, e.g. postgresql://user@host/db (default: OUT/ledger.db)"),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", help="Folder, runs.csv or ledger with finished runs to take over; repeatable"),
]
Export = Annotated[Path | None, typer.Option(help="Folder for all finished runs, to be imported elsewhere")]
Model = Annotated[Path, typer.Argument(help="A run folder, a model zip, or a .safetensors file of save_safe")]
TrainedOn = Annotated[str | None, typer.Option("--env", help="Gymnasium id (default: the environment of the training)")]
TrainedWith = Annotated[str | None, typer.Option("--algo", help="Its algorithm (default: that of the training)")]
Episodes = Annotated[int, typer.Option(help="Number of episodes")]
PlaySeed = Annotated[int, typer.Option(help="Seed of the environment and of the actions")]
Statistics = Annotated[
    str | None,
    typer.Option(
        "--normalization",
        help="File of VecNormalize's statistics, or none (default: searched for where train, rl_zoo3 and SB3 leave it)",
    ),
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Sample actions instead of taking the most likely ones")]


PROGRESS_SECONDS = 10.0  # between two lines about a training whose progress is not shown on a terminal


def _document_options(command: Callable[..., None]) -> Callable[..., None]:
    """Make an option's description in the command's docstring (``:param name: text``) its help text.

    Options that several commands have bring their help text with them. ``~`` in paths is the home folder, also where
    no shell has replaced it (``--out=~/runs``).
    """
    command.__doc__, *described = re.split(r"^:param (\w+): ", inspect.getdoc(command) or "", flags=re.MULTILINE)
    for name, text in zip(described[::2], described[1::2], strict=True):
        hint = command.__annotations__[name]
        if not hasattr(hint, "__metadata__"):  # not Annotated
            hint = command.__annotations__[name] = Annotated[hint, typer.Option()]
        hint.__metadata__[0].help = " ".join(text.split())

    @functools.wraps(command)
    def with_home(*args: Any, **options: Any) -> None:
        command(*args, **{name: _with_home(name, value) for name, value in options.items()})

    return with_home


def _with_home(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_home(name, one) for one in value]
    if isinstance(value, Path) or (name == "storage" and value):
        return type(value)(os.path.expanduser(value))
    return value


@contextmanager
def _clear_errors(resumable: bool = False) -> Iterator[None]:
    """Show a user's mistake, a warning and Ctrl-C as one line each.

    :param resumable: Whether rerunning the interrupted command resumes it; used if the interruption has no message
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # it names only what it uses
            yield
    except KeyboardInterrupt as error:
        _say(str(error) or f"interrupted; rerun the command to {'resume' if resumable else 'start again'}")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        _say(f"Error: {' '.join(str(error).split())}", style="red")
        raise typer.Exit(2) from None


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    # Path and source line of a warning help developers, not users.
    if issubclass(category, UserWarning):
        _say(f"Warning: {' '.join(str(message).split())}", style="yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _say(text: str, style: str = "", console: Console | None = None) -> None:
    """Print one line as it is, by default to stderr."""
    (console or Console(stderr=True)).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _say_written(files: list[Path]) -> None:
    for path in files:
        _say(f"written: {path}")


def _screen() -> Console:
    """The console for results: as wide as the terminal or ``COLUMNS``, otherwise wide enough for the tables."""
    if sys.stdout.isatty():
        return Console()
    columns = os.environ.get("COLUMNS", "")
    return Console(width=int(columns) if columns.isdecimal() and int(columns) else 140)


def _print_version(asked: bool) -> None:
    if asked:
        from sb3_ppo_variants import __version__

        _say(f"sb3_ppo_variants {__version__}", console=_screen())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _use_one_thread() -> None:
    """Use one thread for BLAS, as the worker processes do. Has an effect only before numpy is imported."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def _command_line() -> str:
    """The command as it was given, for reports: people show them to others, so the database's password is left out."""
    from sb3_ppo_variants.experiments.engine.storage import without_passwords

    return shlex.join(["ppo-variants", *map(without_passwords, sys.argv[1:])])


@app.command()
@_document_options
def compare(
    env: list[str] | None = None,
    algo: list[str] | None = None,
    timesteps: int | None = None,
    wall_time: float | None = None,
    timeout: float | None = None,
    seeds: int | None = None,
    seed: list[int] | None = None,
    n_envs: NEnvs = 1,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    preset: str | None = None,
    reading: str = "paper",
    normalize: Normalize = None,
    peer_defaults: Annotated[bool, typer.Option("--peer-defaults")] = False,
    jobs: Jobs = None,
    rollout_workers: RolloutWorkers = None,
    executor: Executor = "local",
    storage: Storage = None,
    imports: Imports = None,
    export: Export = None,
    out: Path | None = None,
    report_only: Annotated[bool, typer.Option("--report-only")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    keep_models: str | None = None,
) -> None:
    """Train every algorithm in every environment with every seed, and report how they compare.

    Rerun an interrupted or killed command to resume it.
    The exit code is 1 if a run has failed.

    :param env: Gymnasium id, or your own package.module:Class; repeatable (default: CartPole-v1)
    :param algo: clip_ppo, kl_penalty_ppo, unclipped_ppo, reinforce, paper_trpo, sb3:ppo, spo, rollback_ppo,
        discovered_ppo, scopic_ppo, sb3:a2c, contrib:trpo, contrib:maskable_ppo, contrib:recurrent_ppo, or
        package.module:Class; NAME=ALGO names a variant; repeatable (default: the first six). With --preset: variants
        of the preset
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
    with _clear_errors(resumable=True):
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
            command=_command_line(),
            console=Console(stderr=True),
        )
        _say_written([*comparison.files, *comparison.models])
        comparison.report.show(_screen())  # the verdict is the last line
    if comparison.failed:
        raise typer.Exit(1)


@app.command()
@_document_options
def tune(
    algo: Algorithm,
    env: Environments = ["CartPole-v1"],  # noqa: B006 (typer only reads it)
    trials: int = 40,
    timesteps: Timesteps = 50_000,
    seeds: int = 3,
    n_envs: NEnvs = 1,
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
    jobs: Jobs = None,
    rollout_workers: RolloutWorkers = None,
    executor: Executor = "local",
    storage: Storage = None,
    zoo_configs: Path | None = None,
    imports: Imports = None,
    export: Export = None,
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
    with _clear_errors(resumable=True):
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
            command=_command_line(),
        )
        show(tuned, _screen())
        _say_written(tuned.files)
    if tuned.best is None:
        raise typer.Exit(1)


@app.command()
@_document_options
def train(
    algo: Algorithm,
    env: str,
    timesteps: Timesteps = 50_000,
    seed: int = 0,
    n_envs: NEnvs = 1,
    rollout_workers: RolloutWorkers = None,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    normalize: Normalize = None,
    out: Path | None = None,
    checkpoint_every: int | None = None,
    resume: Annotated[bool, typer.Option("--resume")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    start_from: Annotated[Path | None, typer.Option("--from")] = None,
    eval_every: int | None = None,
    eval_episodes: int = 10,
    tensorboard: Path | None = None,
) -> None:
    """Train one model with its own defaults and save it as OUT/model.zip.

    With --checkpoint-every N, rerun an interrupted or killed command with --resume to resume it.
    It ends with exactly the same parameters and curves as without the interruption.
    With --resume and more --timesteps, a finished run is extended.

    :param env: Gymnasium id
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
    with _clear_errors():
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
            _say("The run was already finished; --overwrite trains it again, --resume with more --timesteps extends it")
        elif trained.resumed_at is not None:
            _say(f"resumed at step {trained.resumed_at}")
        score = "no episode finished" if result.final_return is None else f"final return {result.final_return:.2f}"
        speed = f"{result.steps} steps, {result.steps_per_second:.0f} steps/s"
        _say(f"{trained.out / 'model.zip'}: {score}, {speed}", console=_screen())
        if trained.best is not None:
            best, step = trained.best
            _say(f"{trained.out / 'best/best_model.zip'}: mean return {best:.2f} at step {step}", console=_screen())


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
                _say(f"{done:,} of {timesteps:,} steps, {shown}, about {left:.0f} s left")
                said = now

        yield report


@app.command()
@_document_options
def evaluate(
    path: Model,
    env: TrainedOn = None,
    algo: TrainedWith = None,
    episodes: Episodes = 20,
    seed: PlaySeed = 10_000,
    stochastic: Stochastic = False,
    normalization: Statistics = None,
    max_steps: int = 100_000,
) -> None:
    """Evaluate a trained model.

    :param max_steps: Steps after which an episode that does not end is an error
    """
    with _clear_errors():
        from sb3_ppo_variants.experiments.models.evaluation import evaluate as evaluate_model

        found = evaluate_model(
            path,
            env,
            algo,
            episodes=episodes,
            seed=seed,
            deterministic=not stochastic,
            normalization=normalization,
            max_steps=max_steps,
        )
        returns = (
            f"return {found.mean:.2f} ± {found.std:.2f} (min {min(found.returns):.2f}, max {max(found.returns):.2f})"
        )
        how = f"{episodes} {'stochastic' if stochastic else 'deterministic'} episodes, seed {seed}"
        what = f"{found.algorithm} on {found.environment}"
        _say(f"{what}: {returns} over {how}, {found.normalization}", console=_screen())


@app.command(hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def worker() -> None:
    """Say what replaces this command."""
    with _clear_errors():
        raise ValueError(
            "There are no workers that join a ledger any more: the command hands its runs out itself. On each machine "
            "start dask worker tcp://HOST:8786, then give compare or tune --executor dask:tcp://HOST:8786; on SLURM, "
            "give --executor submitit:slurm"
        )


@app.command()
@_document_options
def speed(
    env: Environments = ["HalfCheetah-v5", "CartPole-v1"],  # noqa: B006 (typer only reads it)
    n_envs: list[int] = [1, 8],  # noqa: B006
    width: list[int] = [64],  # noqa: B006
    peers: list[str] | None = None,
    rounds: int = 5,
    workers: int | None = None,
    progress_bar: Annotated[bool, typer.Option("--progress-bar")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure the training speed beside the peers: interleaved rounds, one thread, time of each part.

    :param n_envs: Environments stepped together; repeatable
    :param width: Units of each hidden layer; repeatable
    :param peers: sb3, contrib or sbx (default: those installed); also contrib:recurrent_ppo and, for an
        environment with action masks, contrib:maskable_ppo; repeatable
    :param rounds: Measured interleaved rounds, after one warm-up round
    :param workers: Measure 1 to this many rollout workers beside the best that SB3 does with as many cores, instead of
        one core; at most --n-envs
    :param progress_bar: Train every model with SB3's progress bar, which is not shown
    :param json_file: File for the numbers of every round
    """
    _use_one_thread()
    with _clear_errors():
        from sb3_ppo_variants.experiments.speed import as_json, speed_of_workers, speed_table, workers_tables
        from sb3_ppo_variants.experiments.speed import speed as measure_speed
        from sb3_ppo_variants.files import write_text

        screen, measurements = _screen(), list[Any]()
        measurement: Any
        measured: Iterator[Any]
        tables: Callable[[Any], list[Any]]
        if workers is None:
            measured = measure_speed(env, n_envs, width, peers, rounds, progress_bar=progress_bar)
            tables = lambda measurement: [speed_table(measurement)]  # noqa: E731
        elif peers:
            raise ValueError(f"--workers measures beside SB3's PPO alone: leave --peers {peers[0]} out")
        else:
            measured, tables = speed_of_workers(env, n_envs, width, workers, rounds, progress_bar), workers_tables
        try:
            for measurement in measured:
                measurements.append(measurement)
                for table in tables(measurement):
                    screen.print(table)
                if json_file is not None:
                    # After each configuration: an interrupted measurement keeps the finished ones.
                    write_text(json_file, json.dumps(as_json(measurements), indent=1) + "\n")
        except KeyboardInterrupt:
            kept = f"{json_file} holds the configurations measured; " if json_file and measurements else ""
            raise KeyboardInterrupt(f"interrupted; {kept}rerun the command to start again") from None


@app.command()
@_document_options
def figures(out: Path = Path("runs/figures")) -> None:
    """Draw the figures of the documentation.

    :param out: Folder for the pictures
    """
    with _clear_errors():
        from sb3_ppo_variants.experiments.figures import draw_figures

        _say_written(draw_figures(out))


@app.command()
@_document_options
def record(
    path: Model,
    out: Path | None = None,
    env: TrainedOn = None,
    algo: TrainedWith = None,
    episodes: Episodes = 1,
    max_steps: int = 1000,
    seed: PlaySeed = 10_000,
    stochastic: Stochastic = False,
    normalization: Statistics = None,
) -> None:
    """Record a trained model as a GIF or a video.

    :param out: A .gif file, or an .mp4 file with the video extra (default: agent.gif beside the model)
    :param max_steps: Largest number of steps
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Set before mujoco and pygame are imported, these make them draw without a display.
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with _clear_errors():
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
        _say(f"{text}, {made.normalization}", console=_screen())


@app.command()
@_document_options
def plot(paths: Annotated[list[Path], typer.Argument()], out: Path | None = None) -> None:
    """Draw the learning curves and diagnostics of run folders.

    :param paths: Run folders: of train, of compare, or with SB3's monitor.csv or progress.csv
    :param out: Folder for the pictures (default: the given folder, or runs/plots for several)
    """
    with _clear_errors():
        from sb3_ppo_variants.experiments.models.run_plots import plot_runs

        _say_written(plot_runs(paths, out))


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@_document_options
def zoo(
    script: Annotated[str, typer.Argument()],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS")] = None,
) -> None:
    """Run RL Baselines3 Zoo's scripts with our algorithms: zoo train --algo clip_ppo --env CartPole-v1, zoo enjoy, …

    :param script: train, enjoy, record_video, record_training, plots, plot_train, plot_from_file, …
    :param arguments: Arguments of rl_zoo3's script; --help lists them
    """
    with _clear_errors():
        from sb3_ppo_variants.zoo import run

        run(script, arguments or [])


for _command in app.registered_commands:
    # The list of commands shows these whole; a text taken from the docstring would be cut.
    _command.short_help = (_command.callback.__doc__ or "").partition("\n\n")[0]


def main() -> None:
    """Entry point of the ``ppo-variants`` command."""
    make_streams_safe()
    # Your own package.module:Class is found in the current folder, after all installed packages.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    app()
