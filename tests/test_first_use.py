"""The first hour of a new user: install, train, save, reload, evaluate, record.

Every step is a process of its own in an empty folder, so nothing carries over but the files.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.pages import ROOT, blocks, commands

README = Path("README.md")
RELOAD = """
import numpy as np
from sb3_ppo_variants import ClipPPO
model = ClipPPO.load("cartpole")
print(model.num_timesteps, model.predict(np.zeros(4, np.float32), deterministic=True)[0])
"""
#: Not the repository's: what is installed has to do without it.
NOT_COPIED = shutil.ignore_patterns(".git", "*.egg-info", "build", "runs", "logs", ".*_cache", "__pycache__")


def step(folder: Path, *command: str | Path, path: str | None = None) -> str:
    """Do one step, which has to end well.

    :param folder: Where
    :param command: Program and arguments
    :param path: ``PYTHONPATH``; ``None``: none
    :return: what it printed
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"SDL_VIDEODRIVER": "dummy", "MPLBACKEND": "Agg"} | ({} if path is None else {"PYTHONPATH": path})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def first_program() -> str:
    """The README's first example, which trains, saves and loads."""
    return next(block.text for block in blocks(README) if block.language == "python")


def is_film(path: Path) -> bool:
    with Image.open(path) as film:
        return film.format == "GIF" and film.n_frames > 1


def use(folder: Path, python: Path, program: str, steps: int, command: list[str | Path], path: str | None) -> None:
    """The path from the first example to a film of the agent, then the same by the command.

    :param folder: An empty folder
    :param python: The interpreter
    :param program: The first example
    :param steps: How many steps it trains, to the end of its last rollout
    :param command: What ``ppo-variants`` is here
    :param path: ``PYTHONPATH``
    """
    (folder / "first.py").write_text(program)
    step(folder, python, "first.py", path=path)
    assert (folder / "cartpole.zip").is_file()
    assert step(folder, python, "-c", RELOAD, path=path).split()[0] == str(steps)
    known = ["cartpole.zip", "--env", "CartPole-v1", "--algo", "clip_ppo"]
    assert "clip_ppo on CartPole-v1: return " in step(
        folder, *command, "evaluate", *known, "--episodes", "2", path=path
    )
    step(folder, *command, "record", *known, "--max-steps", "20", path=path)
    assert is_film(folder / "agent.gif")

    train = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "--timesteps", "2048", "--out", "runs/mine"]
    assert "runs/mine/model.zip" in step(folder, *command, *train, path=path)
    assert "clip_ppo on CartPole-v1" in step(folder, *command, "evaluate", "runs/mine", "--episodes", "2", path=path)
    step(folder, *command, "record", "runs/mine", "--max-steps", "20", path=path)
    assert is_film(folder / "runs/mine/agent.gif")


def test_train_save_reload_score_record(tmp_path: Path) -> None:
    program = first_program().replace("50_000, progress_bar=True", "2_048")
    assert "learn(2_048)" in program
    command: list[str | Path] = [sys.executable, "-m", "sb3_ppo_variants"]
    use(tmp_path, Path(sys.executable), program, 2048, command, str(ROOT))


@pytest.mark.long
def test_from_the_installation_on(tmp_path: Path) -> None:
    """In a fresh environment, as the README says it, with nothing cut."""
    repository, folder, environment = tmp_path / "repository", tmp_path / "empty", tmp_path / "environment"
    shutil.copytree(ROOT, repository, ignore=NOT_COPIED)
    folder.mkdir()
    step(folder, sys.executable, "-m", "venv", environment)
    bin_folder = environment / "bin"
    # The README: without a GPU, the CPU build first. It is this one.
    step(folder, bin_folder / "pip", "install", "--quiet", f"torch=={torch.__version__.partition('+')[0]}")
    block = next(block for block in blocks(README) if block.language == "bash")
    install = next(commands(block.text))
    assert install[:2] == ["pip", "install"]
    step(repository, bin_folder / "pip", *install[1:])
    use(folder, bin_folder / "python", first_program(), 51_200, [bin_folder / "ppo-variants"], None)
