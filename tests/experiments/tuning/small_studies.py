"""Real studies of a few short runs."""

from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.tuning.study import Tuned, tune

SMALL = {"n_steps": 64, "batch_size": 32}


def small(out: Path, **changes: Any) -> Tuned:
    """A study of ClipPPO on CartPole.

    :param out: Its folder
    :param changes: Arguments of ``tune`` that are to be others
    """
    arguments: dict[str, Any] = {"trials": 3, "timesteps": 128, "seeds": 2, "confirm": 0, "settings": SMALL}
    arguments |= {"only": ["n_epochs", "clip_range"], "out": out, **changes}
    return tune("clip_ppo", arguments.pop("environments", "CartPole-v1"), **arguments)
