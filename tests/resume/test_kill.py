"""kill -9 at random moments, and a full disk: the run goes on from its newest checkpoint, and ends the same."""

import csv
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch as th

from sb3_ppo_variants import KLPenaltyPPO
from sb3_ppo_variants.resume.files import checkpoint_paths, newest_checkpoint
from tests.resume.runs import assert_equal

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # newer Pythons warn of fork beside threads
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a fork is the quickest way to a process"),
]

RUN = "train --algo kl_penalty_ppo --env Pendulum-v1 --n-envs 2 --timesteps 6000 --seed 5 --checkpoint-every 500"
SETTINGS = ("n_steps=250", "n_epochs=3", "batch_size=50", "adaptive_kl_target=0.001")
COMMAND = [*RUN.split(), *(word for setting in SETTINGS for word in ("--set", setting)), "--resume", "--out"]


def ppo_variants(arguments: list[str]) -> None:
    from sb3_ppo_variants.cli import app

    th.set_num_threads(1)
    app(arguments)


def run(folder: Path, kill_after: float | None = None, with_checkpoint: bool = False) -> int:
    """
    :param kill_after: Seconds
    :param with_checkpoint: From the first checkpoint on
    :return: the process's exit code; −9 if it was killed
    """
    process = multiprocessing.get_context("fork").Process(target=ppo_variants, args=([*COMMAND, str(folder)],))
    process.start()
    while with_checkpoint and process.is_alive() and not checkpoint_paths(folder / "checkpoints"):
        time.sleep(0.01)
    process.join(kill_after)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def left_in(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but for clocks."""
    model = KLPenaltyPPO.load(folder / "model.zip", device="cpu")
    state = model.policy.optimizer.state_dict()["state"]
    with (folder / "curve.csv").open() as curve, (folder / "progress.csv").open() as progress:
        return {
            "parameters": [parameter.detach().numpy() for parameter in model.policy.parameters()],
            "optimizer": [value.numpy() for one in state.values() for value in one.values()],
            "kl_coef": model.kl_coef,
            "curve": [(row["timesteps"], row["mean_return"]) for row in csv.DictReader(curve)],
            # Columns come in any order from one process to the next.
            "progress": [
                {key: row[key] for key in sorted(row) if key not in ("time/fps", "time/time_elapsed")}
                for row in csv.DictReader(progress)
            ],
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder) == 0
    left = left_in(folder)
    assert len(left["progress"]) == len(left["curve"]) == 12
    assert left["kl_coef"] != 1.0
    return left


def killed_run(folder: Path, moments: random.Random, kills: int, seconds: float) -> int:
    """:return: how often it was killed, at least once with a checkpoint to go on from"""
    could_resume = False
    for killed in range(kills):
        last = killed == kills - 1
        code = run(folder, moments.uniform(0.0, seconds), with_checkpoint=last and not could_resume)
        if code == 0:
            return killed
        assert code == -signal.SIGKILL
        newest, damaged = newest_checkpoint(folder / "checkpoints")
        assert damaged == []
        assert newest is not None or not checkpoint_paths(folder / "checkpoints")
        could_resume |= newest is not None
    assert could_resume
    assert run(folder) == 0
    return kills


def test_kill(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    killed_run(tmp_path, random.Random(1), kills=4, seconds=2.5)
    assert_equal(left_in(tmp_path), undisturbed)


@pytest.mark.long
def test_a_hundred_kills(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    moments, kills, runs = random.Random(2), 0, 0
    while kills < 100:
        runs += 1
        kills += killed_run(tmp_path / str(runs), moments, kills=25, seconds=2.5)
        assert_equal(left_in(tmp_path / str(runs)), undisturbed)


def full_disk(folder: Path, answer: Any) -> None:
    from sb3_ppo_variants.experiments import train

    th.set_num_threads(1)
    settings = {"n_steps": 32, "n_epochs": 1, "batch_size": 32}
    train("clip_ppo", timesteps=64, seed=1, settings=settings, checkpoint_every=32, out=folder)
    # Room for logs, not for a checkpoint.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        train("clip_ppo", timesteps=96, seed=1, settings=settings, checkpoint_every=32, out=folder, resume=True)
    except OSError as error:
        answer.put(str(error))
    else:
        answer.put("it was written")


def test_full_disk(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=full_disk, args=(tmp_path, answer))
    process.start()
    said = answer.get(timeout=30)
    process.join()
    assert "File too large: the checkpoint at step 96 was not written" in said
    assert "step-000000000064.checkpoint is as it was, and can be resumed from" in said
    newest, damaged = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert (newest.about["steps"], damaged) == (64, [])
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2  # nothing unfinished is left
