"""``BAD_INPUT.md``, executed: every row as SB3's ``PPO`` takes it, and as ``ClipPPO`` does."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO

from sb3_ppo_variants import ClipPPO
from tests.nonfinite.faulty import faulty_env
from tests.parity.comparing import make_env

PAGE = Path(__file__).parents[2] / "sb3_ppo_variants" / "algorithms" / "BAD_INPUT.md"
ROW = re.compile(r"^\| `(?P<input>.+?)` \| (?P<theirs>.+?) \| (?P<ours>.+?) \|$", re.MULTILINE)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
NAMES = {"nan": float("nan"), "inf": float("inf")}


def outcome(algorithm: type, text: str) -> str:
    """
    What becomes of an input: an error or a warning with its first line, or how the training ended. Two environments,
    rollouts of 64 steps each, four of them; ``observation=`` and ``reward=`` come from environment 1, once.
    """
    arguments: dict[str, Any] = eval(f"dict({text})", dict(NAMES))  # our own page
    env = make_env(n_envs=2)
    for what in ("observation", "reward"):
        if what in arguments:
            env = faulty_env(what, arguments.pop(what))
    settings = {"policy": "MlpPolicy", "n_steps": 64, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = algorithm(env=env, **settings | arguments)
            stage = "learn"
            model.learn(4 * 128)
        except Exception as error:
            stage = "constructor" if "model" not in locals() else f"{stage} at {model.num_timesteps} steps"
            return f"{type(error).__name__} in {stage}: {str(error).splitlines()[0] if str(error) else ''}"
    about = [w for w in said if "mini-batch" in str(w.message) or "minibatch" in str(w.message)]
    finite = all(bool(th.isfinite(p).all()) for p in model.policy.parameters())
    warned = f"warns: {str(about[0].message).splitlines()[0]} " if about else ""
    return f"{warned}trains on" + ("" if finite else ", parameters NaN")


def assert_says(actual: str, cell: str) -> None:
    """A cell holds the outcome; the message in backticks may be cut short by an ellipsis."""
    actual, expected = actual.replace("`", ""), cell.replace("`", "")
    start, *rest = expected.split("…")
    assert actual.startswith(start.rstrip()), f"{actual!r} is not {cell!r}"
    assert rest or actual == expected, f"{actual!r} is not {cell!r}"


def test_the_page_has_every_row_of_the_report() -> None:
    inputs = {row["input"] for row in ROWS}
    assert {
        *("clip_range=-0.2", "clip_range=0", "clip_range=nan", "gamma=2", "gamma=-1", "gamma=nan", "gae_lambda=1.5"),
        *("ent_coef=-1", "ent_coef=inf", "vf_coef=nan", "target_kl=-1", "max_grad_norm=-1", "max_grad_norm=0"),
        *("learning_rate=0", "learning_rate=1e3", "n_epochs=0", "n_epochs=-1", "n_epochs=2.5", "batch_size=4096"),
        *("reward=1e30", "reward=nan", "reward=inf", "observation=nan", "observation=inf"),
    } <= inputs
    assert len(inputs) == len(ROWS)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: ROWS[number]["input"])
def test_each_row_is_true(number: int) -> None:
    row = ROWS[number]
    with np.errstate(all="ignore"):
        assert_says(outcome(PPO, row["input"]), row["theirs"])
        assert_says(outcome(ClipPPO, row["input"]), row["ours"])
