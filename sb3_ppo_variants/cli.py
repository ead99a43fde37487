"""The ``ppo-variants`` command. Heavy imports are inside the commands, so that ``--help`` is quick."""

import importlib
import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

app = typer.Typer(
    help="Compare, tune, train and score PPO variants. Long work can be interrupted: the same command goes on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Environment = Annotated[str, typer.Option("--env", help="Gymnasium id")]
Environments = Annotated[list[str], typer.Option("--env", help="Gymnasium id; may be given several times")]
Algorithms = Annotated[
    list[str] | None,
    typer.Option(
        "--algo",
        help="clip_ppo, kl_penalty_ppo, unclipped_ppo, reinforce, paper_trpo, sb3:ppo, sb3:a2c, contrib:trpo, or "
        "package.module:Class; NAME=ALGO gives a row a name of its own; may be given several times (default: the first "
        "six). With --preset: rows of it",
    ),
]
Timesteps = Annotated[int, typer.Option(help="Training steps of a run")]
NEnvs = Annotated[int, typer.Option(help="Environments stepped together in a run")]
SeveralInts = Annotated[list[int], typer.Option(help="May be given several times")]
Storage = Annotated[str, typer.Option(help="Database URL or SQLite file of the ledger")]


@contextmanager
def _clear_errors(keeps: bool = False) -> Iterator[None]:
    """Show a user's mistake as one line, a warning as another, and Ctrl-C as what it leaves behind.

    :param keeps: Whether the command keeps what it has done, also where the interruption does not say so itself
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    except KeyboardInterrupt as error:
        _say(str(error) or f"interrupted; the same command {'goes on' if keeps else 'begins anew'}")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        _say(f"Error: {' '.join(str(error).split())}", style="red")
        raise typer.Exit(2) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # A warning for users has its say without the path and the source line, which are a developer's.
    if issubclass(category, UserWarning):
        _say(f"Warning: {' '.join(str(message).split())}", style="yellow")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _say(text: str, style: str = "") -> None:
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _screen() -> Console:
    """Where results go: as wide as the terminal, and wide enough for the tables when it is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=140)


@app.command()
def compare(
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            help="Gymnasium id, or package.module:Class of your own; may be given several times (default: CartPole-v1)",
        ),
    ] = None,
    algo: Algorithms = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Training steps of a run (default: 50000, or the preset's)")
    ] = None,
    wall_time: Annotated[
        float | None, typer.Option(help="Seconds of training after which each run ends, instead of --timesteps")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Runs of each row in each environment, seeds 0, 1, … (default: 5, or the preset's)"),
    ] = None,
    n_envs: NEnvs = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="row.argument=value, e.g. clip_ppo.clip_range=0.1")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="table1: Table 1 of the PPO paper; --env, --algo, --seeds and --timesteps take a part of it"),
    ] = None,
    reading: Annotated[
        str, typer.Option(help="paper or sb3: whose conventions the preset follows where the paper says nothing")
    ] = "paper",
    normalize: Annotated[
        str | None, typer.Option(help="observations, rewards or both: scale them by running statistics (VecNormalize)")
    ] = None,
    peer_defaults: Annotated[
        bool, typer.Option("--peer-defaults", help="Leave peers at their own defaults instead of our documented ones")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes, one thread each (default: available cores)")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Ledger elsewhere, e.g. postgresql://user@host/db (default: OUT/ledger.db)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for ledger, CSV, PNG, table and report (default: runs/compare or runs/PRESET)"),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing: report what the ledger holds by now and what is missing")
    ] = False,
) -> None:
    """Train every algorithm on every environment with every seed, and report how they compare.

    The same command goes on where it was interrupted or killed. Exit code 1 when a run has failed.
    """
    with _clear_errors(keeps=True):
        from sb3_ppo_variants.experiments.compare.comparison import compare as run_comparison
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments

        comparison = run_comparison(
            env or None,
            algo or None,
            timesteps=timesteps,
            seeds=seeds,
            n_envs=n_envs,
            settings=parse_assignments(settings or []),
            peer_defaults=peer_defaults,
            preset=preset,
            reading=reading,
            normalize=normalize,
            wall_time=wall_time,
            jobs=jobs,
            storage=storage,
            out=out,
            report_only=report_only,
            command=shlex.join(["ppo-variants", *sys.argv[1:]]),
            console=Console(stderr=True),
        )
        comparison.report.show(_screen())
        _say("written: " + ", ".join(str(path) for path in comparison.files))
    if comparison.failed:
        raise typer.Exit(1)


@app.command()
def tune(
    algo: Annotated[str, typer.Option(help="Zoo id, peer, or package.module:Class")],
    env: Environments = ["CartPole-v1"],  # noqa: B006 (typer reads it, nobody changes it)
    trials: Annotated[int, typer.Option(help="Trials in all; the first is the documented defaults")] = 40,
    timesteps: Timesteps = 50_000,
    seeds: Annotated[int, typer.Option(help="Tuning seeds: runs of a trial in each environment")] = 3,
    n_envs: NEnvs = 1,
    sampler: Annotated[str, typer.Option(help="tpe, random or gp")] = "tpe",
    sampler_seed: Annotated[int, typer.Option(help="Seed of the sampler")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="Search this argument, e.g. clip_range; may be given several times")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="argument=value that every trial has, e.g. clip_range_vf=0.2")
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="Own search space, a JSON, YAML or TOML file: argument: [values], or argument: {kind: real, low: 0.1, "
            "high: 0.3, log: true}; kinds are real, integer, complement (1 - x on a logarithmic scale), choice "
            "(values) and band_ratio (a multiple of clip_range)"
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="ENV=RANDOM,REFERENCE: returns that count as 0 and 1; may be given several times"),
    ] = None,
    pruning: Annotated[
        bool, typer.Option("--pruning/--no-pruning", help="End trials early that fall behind the earlier ones")
    ] = False,
    trial_timeout: Annotated[float | None, typer.Option(help="Seconds after which a trial fails")] = None,
    confirm: Annotated[int, typer.Option(help="Run so many of the best settings again; 0 for none")] = 3,
    test_seeds: Annotated[int, typer.Option(help="Seeds of the confirmation, at least 10")] = 10,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes, one thread each (default: available cores)")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Ledger elsewhere, e.g. postgresql://user@host/db (default: OUT/ledger.db)")
    ] = None,
    zoo_configs: Annotated[
        Path | None, typer.Option(help="Folder of ALGO.yml for a confirmed winner (default: OUT/zoo_configs)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for ledger and report (default: runs/tune-ALGO)")] = None,
) -> None:
    """Search settings, then run the best and the defaults again on fresh seeds and say whether the best hold.

    The same command goes on where it was interrupted or killed; more --trials extend the study. Exit code 1 when no
    trial has finished.
    """
    with _clear_errors(keeps=True):
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments
        from sb3_ppo_variants.experiments.tuning.plan import parse_references
        from sb3_ppo_variants.experiments.tuning.study import tune as run_study
        from sb3_ppo_variants.experiments.tuning.summary import show

        tuned = run_study(
            algo,
            env,
            trials=trials,
            timesteps=timesteps,
            seeds=seeds,
            n_envs=n_envs,
            jobs=jobs,
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
            out=out,
            console=Console(stderr=True),
            command=shlex.join(["ppo-variants", *sys.argv[1:]]),
        )
        show(tuned, _screen())
        _say("written: " + ", ".join(str(path) for path in tuned.files))
    if tuned.best is None:
        raise typer.Exit(1)


@app.command()
def train(
    algo: Annotated[str, typer.Option(help="Zoo id, peer, or package.module:Class")],
    env: Environment,
    timesteps: Timesteps = 50_000,
    seed: Annotated[int, typer.Option(help="Seed of the algorithm and its environments")] = 0,
    n_envs: NEnvs = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="argument=value, e.g. clip_range=0.1")] = None,
    normalize: Annotated[
        str | None, typer.Option(help="observations, rewards or both: scale them by running statistics (VecNormalize)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/ALGO-ENV-seedS)")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps from one checkpoint in OUT/checkpoints to the next (default: none)")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint, if there is one")] = False,
) -> None:
    """Train one model with its own defaults and leave it in OUT/model.zip.

    With --checkpoint-every N, the same command with --resume goes on where it was interrupted or killed, and ends as if
    it never had been: the same parameters, the same curves.
    """
    with _clear_errors():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from sb3_ppo_variants.experiments.models.training import train as train_one
        from sb3_ppo_variants.experiments.runs.settings import parse_assignments

        chosen = parse_assignments(settings or [], algo).get(algo, {})
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            bar = progress.add_task("training", total=timesteps)

            def report(steps: int, mean_return: float) -> None:
                progress.update(bar, completed=min(steps, timesteps), description=f"return {mean_return:.1f}")

            trained = train_one(
                algo,
                env,
                timesteps=timesteps,
                seed=seed,
                n_envs=n_envs,
                settings=chosen,
                normalize=normalize,
                out=out,
                report=report,
                checkpoint_every=checkpoint_every,
                resume=resume,
            )
        result = trained.result
        if trained.resumed_at == result.steps:
            _say("The run was already finished")
        elif trained.resumed_at is not None:
            _say(f"resumed at step {trained.resumed_at}")
        score = "no episode finished" if result.final_return is None else f"final return {result.final_return:.2f}"
        speed = f"{result.steps} steps, {result.steps_per_second:.0f} steps/s"
        _screen().print(f"{trained.out / 'model.zip'}: {score}, {speed}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="A run folder, a model zip, or a .safetensors file of save_safe")],
    env: Annotated[str | None, typer.Option(help="Gymnasium id (default: the one trained on)")] = None,
    algo: Annotated[str | None, typer.Option(help="Its algorithm (default: the one trained with)")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to play")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the environment and of the actions")] = 10_000,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Draw actions instead of taking the likeliest")
    ] = False,
) -> None:
    """Score a trained model."""
    with _clear_errors():
        from sb3_ppo_variants.experiments.models.evaluation import evaluate as evaluate_model

        found = evaluate_model(path, env, algo, episodes=episodes, seed=seed, deterministic=not stochastic)
        returns = (
            f"return {found.mean:.2f} ± {found.std:.2f} (min {min(found.returns):.2f}, max {max(found.returns):.2f})"
        )
        how = "stochastic" if stochastic else "deterministic"
        text = f"{found.algorithm} on {found.environment}: {returns} over {episodes} {how} episodes, seed {seed}"
        _screen().print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def worker(
    storage: Storage,
    study: Annotated[str | None, typer.Option(help="Name of the study (default: the only one there)")] = None,
) -> None:
    """Join a comparison or a tuning study from another process or machine, until nothing is left to do."""
    # Before numpy is loaded: one thread a worker, as in the workers that compare starts.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with _clear_errors(keeps=True):
        from sb3_ppo_variants.experiments.engine import work
        from sb3_ppo_variants.experiments.engine.ledger import SUFFIX
        from sb3_ppo_variants.experiments.engine.storage import (
            GRACE_SECONDS,
            HEARTBEAT_SECONDS,
            storage_url,
            study_names,
            without_password,
        )

        url = storage_url(storage, Path())
        # A confirmation is joined with the study that it belongs to.
        names = [study] if study is not None else [n for n in study_names(url) if not n.endswith(SUFFIX)]
        if len(names) != 1:
            raise ValueError(f"The storage holds {len(names)} studies ({', '.join(names)}): say which with --study")
        stop = work.stop_on_signals()
        _say(f"working on study {names[0]}; Ctrl-C puts the current run back and ends")
        done = work.join_with_sequel(work.WorkerConfig(url, names[0], HEARTBEAT_SECONDS, GRACE_SECONDS), stop)
        kept = f"stopped. {without_password(url)} keeps the rest; the same command goes on from there"
        _say(f"{done} runs done here; " + (kept if stop() else "nothing is left to do"))
    if stop():
        raise typer.Exit(130)


@app.command()
def speed(
    env: Environments = ["HalfCheetah-v5", "CartPole-v1"],  # noqa: B006 (typer reads it, nobody changes it)
    n_envs: SeveralInts = [1, 8],  # noqa: B006
    width: SeveralInts = [64],  # noqa: B006
    peers: Annotated[
        list[str] | None, typer.Option(help="sb3, contrib, sbx; may be given several times (default: those installed)")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds that count, after one that warms up")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every round's numbers here")] = None,
) -> None:
    """Time training beside the peers: interleaved rounds, one thread, split into its parts."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with _clear_errors():
        from sb3_ppo_variants.experiments.speed import Measurement, as_json
        from sb3_ppo_variants.experiments.speed import speed as measure_speed
        from sb3_ppo_variants.experiments.speed_tables import show

        screen, measurements = _screen(), list[Measurement]()
        try:
            for measurement in measure_speed(env, n_envs, width, peers, rounds):
                measurements.append(measurement)
                show(measurement, screen)
                if json_file is not None:
                    # After each configuration: what is interrupted keeps what it has.
                    from sb3_ppo_variants.files import write_text

                    write_text(json_file, json.dumps(as_json(measurements), indent=1) + "\n")
        except KeyboardInterrupt:
            kept = f"{json_file} holds the configurations measured; " if json_file and measurements else ""
            raise KeyboardInterrupt(f"interrupted; {kept}the same command begins anew") from None


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="Folder for the pictures")] = Path("runs/figures"),
) -> None:
    """Draw the figures of the documentation."""
    with _clear_errors():
        draw_figures = importlib.import_module("sb3_ppo_variants.experiments.figures").draw_figures
        _say("written: " + ", ".join(str(path) for path in draw_figures(out)))


@app.command()
def record(
    path: Annotated[Path, typer.Argument(help="A run folder, a model zip, or a .safetensors file of save_safe")],
    out: Annotated[
        Path | None, typer.Option(help="A .gif, or an .mp4 with the extra video (default: agent.gif beside the model)")
    ] = None,
    env: Annotated[str | None, typer.Option(help="Gymnasium id (default: the one trained on)")] = None,
    algo: Annotated[str | None, typer.Option(help="Its algorithm (default: the one trained with)")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to record")] = 1,
    max_steps: Annotated[int, typer.Option(help="Steps after which the recording ends in any case")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the environment and of the actions")] = 10_000,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Draw actions instead of taking the likeliest")
    ] = False,
) -> None:
    """Record a trained model as a GIF or a video."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Before mujoco and pygame are loaded: they draw without a display then.
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with _clear_errors():
        from sb3_ppo_variants.experiments.models.recording import record as record_model

        made = record_model(
            path, out, env, algo, episodes=episodes, max_steps=max_steps, seed=seed, deterministic=not stochastic
        )
        ended = ", ".join(f"{episode_return:.2f}" for episode_return in made.returns) or "no episode ended"
        text = f"{made.path}: {made.algorithm} on {made.environment}, {made.steps} steps, return {ended}"
        _screen().print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def plot(
    paths: Annotated[
        list[Path], typer.Argument(help="Run folders: of train, of compare, or with SB3's monitor.csv or progress.csv")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures (default: the one folder given, else runs/plots)")
    ] = None,
) -> None:
    """Draw the learning curves and the diagnostics of run folders."""
    with _clear_errors():
        from sb3_ppo_variants.experiments.models.run_plots import plot_runs

        _say("written: " + ", ".join(str(file) for file in plot_runs(paths, out)))


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def zoo(
    script: Annotated[
        str,
        typer.Argument(help="train, enjoy, record_video, record_training, plots, plot_train, plot_from_file, …"),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What rl_zoo3's script takes; --help shows it", metavar="ARGS")
    ] = None,
) -> None:
    """Run RL Baselines3 Zoo's scripts with our algorithms: zoo train --algo clip_ppo --env CartPole-v1, zoo enjoy, …"""
    with _clear_errors():
        importlib.import_module("sb3_ppo_variants.zoo").run(script, arguments or [])


def main() -> None:
    """Entry of the ``ppo-variants`` command."""
    # A user's own package.module:Class is looked for where the command is given, after everything installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    app()
