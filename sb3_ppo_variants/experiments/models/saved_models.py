"""Models as files: SB3's zip, which can run code, and the safe format, which cannot."""

import zipfile
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from sb3_ppo_variants.algorithms.loading import LoadableAlgorithm
from sb3_ppo_variants.experiments.runs.registry import OURS, algorithm_class
from sb3_ppo_variants.safe_files.format import SUFFIX, read_safe
from sb3_ppo_variants.safe_files.spaces import space_from_data


def is_safe(path: Path) -> bool:
    """Whether a file is named as ``save_safe`` names its own.

    :param path: The file
    """
    return path.suffix == SUFFIX


def check_model_file(path: Path) -> None:
    """Raise unless a file is a model.

    :param path: The file
    """
    if not is_safe(path) and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a model: neither a zip as Stable-Baselines3 saves it, nor a {SUFFIX} file of save_safe()"
        )


def load_model(algorithm: str, path: Path, env: Any) -> BaseAlgorithm:
    """Load a model to play with.

    :param algorithm: Name of its algorithm
    :param path: Its file; of the safe format nothing is unpickled
    :param env: Its environment
    :raises ValueError: if the algorithm does not read the safe format
    """
    cls = algorithm_class(algorithm)
    if not is_safe(path):
        return cls.load(path, env=env, device="cpu")
    if not issubclass(cls, LoadableAlgorithm):
        raise ValueError(
            f"{path} is in the safe format, which {algorithm} does not read: give one of {', '.join(OURS)}"
        )
    return cls.load_safe(path, env=env, device="cpu")


def saved_algorithm(path: Path) -> str | None:
    """Name of the algorithm that a file of the safe format says it is of; ``None`` if it is none of ours, or a zip.

    :param path: The file
    """
    if not is_safe(path):
        return None
    written = read_safe(path)[0].get("class")
    return next((name for name in OURS if algorithm_class(name).__name__ == written), None)


def saved_observation_space(path: Path) -> spaces.Space | None:
    """The observation space of a saved model.

    :param path: The file
    """
    if is_safe(path):
        return space_from_data(read_safe(path)[0].get("observation_space"), "observation_space")
    data, _, _ = load_from_zip_file(path, device="cpu")
    return data["observation_space"] if data else None
