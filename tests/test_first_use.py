"""The first hour of a new user: install, train, save, reload, evaluate, record.

Every step is a process of its own in an empty folder, so nothing carries over but the files.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests import forked
from tests.pages import ROOT, blocks, commands

README = Path("README.md")
RELOAD = """
import numpy as np
from sb3_ppo_variants import ClipPPO
model = ClipPPO.load("cartpole")
print(model.num_timesteps, model.predict(np.zeros(4, np.float32), deterministic=True)[0])
"""
#: Not the repository's, wherever it is, or at its top: what is installed has to do without it.
NOT_COPIED = shutil.ignore_patterns(".git", "*.egg-info", "build", ".*_cache", "__pycache__")
NOT_COPIED_FROM_THE_TOP = ("runs", "logs")


#: Does one step, a program and its arguments in a folder, which has to end well; returns what it printed.
Step = Callable[..., str]


def step(folder: Path, *command: str | Path) -> str:
    """Do one step as a process, without the tests' own ``PYTHONPATH``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"SDL_VIDEODRIVER": "dummy", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def step_of_this_python(folder: Path, *command: str | Path) -> str:
    """Do one step as a process of this Python, which does not import torch anew."""
    assert command[0] == sys.executable
    done = forked.python(folder, *command[1:])
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def first_program() -> str:
    """The README's first example, which trains, saves and loads."""
    return next(block.text for block in blocks(README) if block.language == "python")


def is_film(path: Path) -> bool:
    with Image.open(path) as film:
        return film.format == "GIF" and film.n_frames > 1


def use(folder: Path, step: Step, python: str | Path, program: str, steps: int, command: list[str | Path]) -> None:
    """The path from the first example to a film of the agent, then the same by the command.

    :param folder: An empty folder
    :param step: Does one step
    :param python: The interpreter
    :param program: The first example
    :param steps: How many steps it trains, to the end of its last rollout
    :param command: What ``ppo-variants`` is here
    """
    (folder / "first.py").write_text(program)
    step(folder, python, "first.py")
    assert (folder / "cartpole.zip").is_file()
    assert step(folder, python, "-c", RELOAD).split()[0] == str(steps)
    known = ["cartpole.zip", "--env", "CartPole-v1", "--algo", "clip_ppo"]
    assert "clip_ppo on CartPole-v1: return " in step(folder, *command, "evaluate", *known, "--episodes", "2")
    step(folder, *command, "record", *known, "--max-steps", "20")
    assert is_film(folder / "agent.gif")

    train = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "--timesteps", "2048", "--out", "runs/mine"]
    assert "runs/mine/model.zip" in step(folder, *command, *train)
    assert "clip_ppo on CartPole-v1" in step(folder, *command, "evaluate", "runs/mine", "--episodes", "2")
    step(folder, *command, "record", "runs/mine", "--max-steps", "20")
    assert is_film(folder / "runs/mine/agent.gif")


def test_train_save_reload_score_record(tmp_path: Path) -> None:
    program = first_program().replace("50_000, progress_bar=True", "2_048")
    assert "learn(2_048)" in program
    command: list[str | Path] = [sys.executable, "-m", "sb3_ppo_variants"]
    use(tmp_path, step_of_this_python, sys.executable, program, 2048, command)


@pytest.mark.long
def test_from_the_installation_on(tmp_path: Path) -> None:
    """In a fresh environment, as the README says it, with nothing cut."""
    repository, folder, environment = tmp_path / "repository", tmp_path / "empty", tmp_path / "environment"
    shutil.copytree(ROOT, repository, ignore=NOT_COPIED)
    for name in NOT_COPIED_FROM_THE_TOP:
        shutil.rmtree(repository / name, ignore_errors=True)
    folder.mkdir()
    step(folder, sys.executable, "-m", "venv", environment)
    bin_folder = environment / "bin"
    # The README: without a GPU, the CPU build first. It is this one.
    step(folder, bin_folder / "pip", "install", "--quiet", f"torch=={torch.__version__.partition('+')[0]}")
    block = next(block for block in blocks(README) if block.language == "bash")
    install = next(commands(block.text))
    assert install[:2] == ["pip", "install"]
    step(repository, bin_folder / "pip", *install[1:])
    use(folder, step, bin_folder / "python", first_program(), 51_200, [bin_folder / "ppo-variants"])
