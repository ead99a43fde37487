"""Model files: SB3's zip, which can run code when it is loaded, and the safe format, which cannot."""

import re
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

#: File of the statistics of ``VecNormalize`` beside a model, as rl_zoo3 and ``train`` name it.
VEC_NORMALIZE = "vecnormalize.pkl"
#: The name in SB3's documentation.
_VEC_NORMALIZE_OF_SB3 = "vec_normalize.pkl"
#: SB3's CheckpointCallback numbers the model and the statistics.
_CHECKPOINT = re.compile(r"(?P<prefix>.+)_(?P<steps>\d+)_steps")


def vec_normalize_beside(model_path: Path) -> Path | None:
    """The statistics of ``VecNormalize`` saved beside a model.

    :param model_path: The model's file
    :return: The file; ``None`` if there is none
    """
    names = [VEC_NORMALIZE, _VEC_NORMALIZE_OF_SB3]
    if checkpoint := _CHECKPOINT.fullmatch(model_path.stem):
        names.insert(0, f"{checkpoint['prefix']}_vecnormalize_{checkpoint['steps']}_steps.pkl")
    return next((path for path in map(model_path.with_name, names) if path.is_file()), None)


def is_safe(path: Path) -> bool:
    """Whether a file has the suffix of the safe format.

    :param path: The file
    """
    return path.suffix == SUFFIX


def check_model_file(path: Path) -> None:
    """Check that a file is a model.

    :param path: The file
    :raises ValueError: if it is not
    """
    if not is_safe(path) and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a model: neither a zip as Stable-Baselines3 saves it, nor a {SUFFIX} file of save_safe()"
        )


def load_model(algorithm: str, path: Path, env: Any) -> BaseAlgorithm:
    """Load a model for evaluation.

    :param algorithm: Name of its algorithm
    :param path: Its file; a file of the safe format is loaded without unpickling anything
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
    """Name of the algorithm that a file of the safe format contains; ``None`` if it is not one of ours, or for a zip.

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
