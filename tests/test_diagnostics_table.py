"""The table in ``DIAGNOSTICS.md`` has every key that an algorithm logs, and no other."""

import re
from pathlib import Path

import pytest
from stable_baselines3.common.logger import Logger

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from tests.pages import prose

PAGE = Path("sb3_ppo_variants/DIAGNOSTICS.md")
SMALL = {"n_steps": 64, "seed": 0}
# Each algorithm with its defaults, and with every setting that adds a key to the log.
RUNS = [
    (ClipPPO, "CartPole-v1", {}),
    (
        ClipPPO,
        "Pendulum-v1",
        {"clip_range_high": 0.3, "clip_range_vf": 0.2, "learning_rate_vf": 1e-3, "kl_coef": 0.5, "target_kl": 1e-6}
        | {"clip_softness": 0.1},
    ),
    (KLPenaltyPPO, "CartPole-v1", {}),
    (UnclippedPPO, "CartPole-v1", {"update_backend": "autograd", "measure_kl": True}),
    (REINFORCE, "CartPole-v1", {}),
    (REINFORCE, "CartPole-v1", {"baseline": False}),
    (TRPO, "CartPole-v1", {"batch_size": 64}),
    (TRPO, "Pendulum-v1", {"n_steps": 256}),
    (ClipPPO, "CartPole-v1", {"reference_policy": ClipPPO("MlpPolicy", "CartPole-v1")}),
    (ClipPPO, "CartPole-v1", {"critic_warmup": 1}),
]


def documented() -> set[str]:
    rows = re.findall(r"^\| (`(?:train|rollout|time)/.*?) \|", prose(PAGE), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z]+/\w+)`", row)}


def logged(cls: type, environment: str, settings: dict) -> set[str]:
    """All keys that a training of two updates logs."""
    keys: set[str] = set()

    class Listening(Logger):
        def dump(self, step: int = 0) -> None:
            keys.update(self.name_to_value)
            super().dump(step)

    model = cls("MlpPolicy", environment, **SMALL | settings)
    model.set_logger(Listening(folder=None, output_formats=[]))
    model.learn(3 * model.n_steps)
    return keys


@pytest.mark.parametrize(("cls", "environment", "settings"), RUNS)
def test_every_key_that_is_logged_is_in_the_table(cls: type, environment: str, settings: dict) -> None:
    keys = {key for key in logged(cls, environment, settings) if key.startswith(("train/", "rollout/", "time/"))}
    assert len(keys) > 10
    assert keys - documented() == set()


def test_every_key_in_the_table_is_logged() -> None:
    # Where an environment's info has is_success, and where an update was not finite.
    rare = {"rollout/success_rate", "train/nonfinite_updates"}
    assert documented() - {key for run in RUNS for key in logged(*run)} <= rare
