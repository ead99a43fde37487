"""What the zoo's tests do in processes of their own: rl_zoo3 changes gymnasium for the process that imports it."""

import importlib.util
from pathlib import Path

import pytest

from tests.forked import python

HAS_RL_ZOO3 = importlib.util.find_spec("rl_zoo3") is not None
WITHOUT_RL_ZOO3 = "rl_zoo3 is not installed: pip install 'sb3_ppo_variants[zoo]'"

needs_rl_zoo3 = pytest.mark.skipif(not HAS_RL_ZOO3, reason=WITHOUT_RL_ZOO3)


def skip_without_rl_zoo3() -> None:
    """Skip a test if there is no rl_zoo3. ``pytest.importorskip`` would import it."""
    if not HAS_RL_ZOO3:
        pytest.skip(WITHOUT_RL_ZOO3)


def zoo(folder: Path, *arguments: str, **environment: str) -> str:
    """Run ``ppo-variants zoo``, which has to end well.

    :return: standard output, then standard error
    """
    done = python(folder, "-m", "sb3_ppo_variants", "zoo", *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def zoo_mistake(folder: Path, *arguments: str, **environment: str) -> str:
    """Run ``ppo-variants zoo``, which has to end with one line that says what is wrong."""
    done = python(folder, "-m", "sb3_ppo_variants", "zoo", *arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last
