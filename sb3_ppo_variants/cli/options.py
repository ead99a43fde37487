"""The options that several commands have, and how an option gets its help text."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Algorithm = Annotated[str, typer.Option("--algo", help="Zoo id, sb3:NAME, contrib:NAME, or package.module:Class")]
Environments = Annotated[
    list[str], typer.Option("--env", help="Gymnasium id, or package.module:Class or function; repeatable")
]
Timesteps = Annotated[int, typer.Option(help="Training steps per run")]
NEnvs = Annotated[int, typer.Option(help="Environments stepped together in a run")]
Normalize = Annotated[
    str | None, typer.Option(help="observations, rewards or both: scale them by running statistics (VecNormalize)")
]
Jobs = Annotated[
    int | None,
    typer.Option(help="Runs under way at once, one thread each (default: as many as the cores allow; 100 on SLURM)"),
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
TrainedOn = Annotated[
    str | None, typer.Option("--env", help="Gymnasium id or import path (default: the environment of the training)")
]
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


def document_options(command: Callable[..., None]) -> Callable[..., None]:
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
