"""``ppo-variants speed``."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sb3_ppo_variants.cli import options
from sb3_ppo_variants.cli.console import clear_errors, screen
from sb3_ppo_variants.cli.options import document_options


@document_options
def speed(
    env: options.Environments = ["HalfCheetah-v5", "CartPole-v1"],  # noqa: B006 (typer only reads it)
    n_envs: list[int] = [1, 8],  # noqa: B006
    width: list[int] = [64],  # noqa: B006
    peers: list[str] | None = None,
    rounds: int = 5,
    workers: int | None = None,
    progress_bar: Annotated[bool, typer.Option("--progress-bar")] = False,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure training speed against the peers, in interleaved rounds on one thread, with the time of each part.

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
    with clear_errors():
        from sb3_ppo_variants.experiments.speed import (
            WARM_UP_ROUNDS,
            as_json,
            speed_of_workers,
            speed_table,
            workers_tables,
        )
        from sb3_ppo_variants.experiments.speed import speed as measure_speed
        from sb3_ppo_variants.files import write_text

        stdout, measurements = screen(), list[Any]()
        done = _Rounds(len(env) * len(n_envs) * len(width) * (rounds + WARM_UP_ROUNDS))
        measurement: Any
        measured: Iterator[Any]
        tables: Callable[[Any], list[Any]]
        if workers is None:
            measured = measure_speed(env, n_envs, width, peers, rounds, done.advance, progress_bar)
            tables = lambda measurement: [speed_table(measurement)]  # noqa: E731
        elif peers:
            raise ValueError(f"--workers measures beside SB3's PPO alone: leave --peers {peers[0]} out")
        else:
            measured = speed_of_workers(env, n_envs, width, workers, rounds, progress_bar, done.advance)
            tables = workers_tables
        try:
            for measurement in measured:
                measurements.append(measurement)
                done.hide()
                for table in tables(measurement):
                    stdout.print(table)
                if json_file is not None:
                    # After each configuration: an interrupted measurement keeps the finished ones.
                    write_text(json_file, json.dumps(as_json(measurements), indent=1) + "\n")
        except KeyboardInterrupt:
            kept = f"{json_file} holds the configurations measured; " if json_file and measurements else ""
            raise KeyboardInterrupt(f"interrupted; {kept}rerun the command to start again") from None
        finally:
            done.hide()


class _Rounds:
    """A bar on a terminal. It is drawn between rounds alone: a thread would be timed too.

    :param total: Rounds of the whole measurement
    """

    def __init__(self, total: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = None
        if console.is_interactive:
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
            self._task = self._bar.add_task("rounds", total=total)

    def advance(self) -> None:
        """A round is done."""
        if self._bar is not None:
            self._bar.start()
            self._bar.update(self._task, advance=1, refresh=True)

    def hide(self) -> None:
        """Until the next round is done."""
        if self._bar is not None:
            self._bar.stop()


def _use_one_thread() -> None:
    """Use one thread for BLAS, as the worker processes do. Has an effect only before numpy is imported."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
