"""Trained models: how to find and load them, with an environment wrapped, stacked and normalised as in the training.

A model is SB3's zip, which can run code when it is loaded, or a file of the safe format, which cannot. A policy trained
on normalised observations gets a wrong score, without any error, on observations that are not.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from sb3_ppo_variants.algorithms.loading import LoadableAlgorithm
from sb3_ppo_variants.experiments.models.training import MODEL, RUN
from sb3_ppo_variants.experiments.models.zoo_run import VEC_NORMALIZE, zoo_run
from sb3_ppo_variants.experiments.runs.environments import check_environment, is_atari, make_environment
from sb3_ppo_variants.experiments.runs.registry import KNOWN, OURS, algorithm_class, algorithm_name
from sb3_ppo_variants.safe_files.format import SUFFIX, read_safe
from sb3_ppo_variants.safe_files.spaces import space_from_data

SEED = 10_000  # away from the seeds that people train with
#: Size of AtariWrapper's frames.
ATARI_FRAME = (84, 84)
#: The name of ``VecNormalize``'s statistics in SB3's documentation.
_VEC_NORMALIZE_OF_SB3 = "vec_normalize.pkl"
#: SB3's CheckpointCallback numbers the model and the statistics.
_CHECKPOINT = re.compile(r"(?P<prefix>.+)_(?P<steps>\d+)_steps")


# ---- Find ----


def check_positive(name: str, value: int) -> None:
    """Check that an argument is a positive integer.

    :param name: The argument
    :param value: Its value
    :raises ValueError: if it is not
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def find_model(
    path: str | Path, environment: str | None = None, algorithm: str | type[BaseAlgorithm] | None = None
) -> tuple[Path, str, str]:
    """Find a trained model, its environment and its algorithm.

    :param path: A run folder of ours or of rl_zoo3, a model zip, or a file of ``save_safe``
    :param environment: Gymnasium id, by default that of the training
    :param algorithm: Its algorithm, by default that of the training
    :return: The file, the environment and the name of the algorithm
    :raises ValueError: if there is no model, or nothing beside it says how it was trained
    """
    model_path, trained = _find(Path(path))
    environment = environment or trained.get("environment")
    algorithm = algorithm or trained.get("algorithm") or _algorithm_in(model_path)
    if environment is None or algorithm is None:
        missing = " and ".join(n for n, v in (("--env", environment), ("--algo", algorithm)) if v is None)
        raise ValueError(f"{model_path} has nothing beside it that says how it was trained: give {missing}")
    return model_path, environment, algorithm_name(algorithm)


def _find(path: Path) -> tuple[Path, dict[str, Any]]:
    """The model file and, if known, how it was trained."""
    # A configuration of rl_zoo3 names code, which is not run for a safe file: that may come from anywhere.
    zoo = None if _is_safe(path) else zoo_run(path if path.is_dir() else path.parent)
    folders_model = MODEL if zoo is None else zoo.model_path.name
    model_path = path / folders_model if path.is_dir() else path
    if not model_path.is_file():
        raise ValueError(f"There is no model at {path}: give a run folder with {folders_model} in it, or a model file")
    if not _is_safe(model_path) and not zipfile.is_zipfile(model_path):
        raise ValueError(
            f"{model_path} is not a model: neither a zip as Stable-Baselines3 saves it, nor a {SUFFIX} file of "
            "save_safe()"
        )
    if zoo is not None:
        zoo.import_packages()  # they may register the environment
        return model_path, {"environment": zoo.environment, "algorithm": zoo.algorithm}
    beside = model_path.parent / RUN
    trained = json.loads(beside.read_text(encoding="utf-8"))["run"] if beside.is_file() else {}
    return model_path, _without_code(trained) if _is_safe(model_path) else trained


def _without_code(trained: dict[str, Any]) -> dict[str, Any]:
    """How a safe file was trained, without import paths: the files beside it may come from anywhere, too."""
    environment, algorithm = trained.get("environment"), trained.get("algorithm")
    return {
        "environment": None if ":" in str(environment) else environment,
        "algorithm": algorithm if algorithm in KNOWN else None,
    }


def _algorithm_in(path: Path) -> str | None:
    """Name of the algorithm in a file of the safe format; ``None`` if it is not one of ours, or for a zip."""
    written = read_safe(path)[0].get("class") if _is_safe(path) else None
    return next((name for name in OURS if algorithm_class(name).__name__ == written), None)


def _is_safe(path: Path) -> bool:
    return path.suffix == SUFFIX


# ---- Load ----


@contextmanager
def opened(
    model_path: Path, environment: str, algorithm: str, seed: int, **env_kwargs: Any
) -> Iterator[tuple[BaseAlgorithm, VecEnv]]:
    """Load a model with its environment, which is closed at the end of the ``with`` block.

    In a run folder of rl_zoo3, its configuration says how the environment was wrapped. Elsewhere it gets Atari's usual
    wrapper if the model has such observations, and is normalised if the statistics of ``VecNormalize`` lie beside the
    model.

    The statistics are a pickle, as SB3 and rl_zoo3 save them: like a model's zip, load them only from sources that you
    trust. With a file of ``save_safe``, which may come from anywhere, nothing is unpickled: no statistics are loaded,
    and no configuration of rl_zoo3, which names code.

    :param model_path: The model's file
    :param environment: Gymnasium id or import path
    :param algorithm: Name of its algorithm
    :param seed: Seed of the environment and of the actions
    :param env_kwargs: Arguments of the environment's constructor
    :raises ValueError: if there is no such environment, the algorithm does not read the safe format, or statistics lie
        beside a file of ``save_safe``
    """
    check_environment(environment)
    env = _trained_environment(model_path, environment, seed, env_kwargs)
    try:
        model = _load(algorithm, model_path, env)
        model.set_random_seed(seed)
        yield model, env
    finally:
        env.close()


def _load(algorithm: str, path: Path, env: VecEnv) -> BaseAlgorithm:
    cls = algorithm_class(algorithm)
    if not _is_safe(path):
        return cls.load(path, env=env, device="cpu")
    if not issubclass(cls, LoadableAlgorithm):
        raise ValueError(
            f"{path} is in the safe format, which {algorithm} does not read: give one of {', '.join(OURS)}"
        )
    return cls.load_safe(path, env=env, device="cpu")


def _trained_environment(model_path: Path, environment: str, seed: int, env_kwargs: dict[str, Any]) -> VecEnv:
    run = None if _is_safe(model_path) else zoo_run(model_path.parent)
    if run is None:
        frames = _atari_frames(model_path) if is_atari(environment) else 0
        wrapper = AtariWrapper if frames else None
        env = make_environment(environment, 1, seed, wrapper=wrapper, env_kwargs=env_kwargs)
        statistics = _trusted_statistics(model_path)
    else:
        env = make_environment(environment, 1, seed, wrapper=run.wrap, env_kwargs=run.env_kwargs | env_kwargs)
        env = run.wrap(env, "vec_env_wrapper")
        frames, statistics = int(run.config.get("frame_stack") or 0), run.statistics
    # In rl_zoo3's order: single frames are normalised, then stacked.
    if statistics is not None:
        env = _normalized(env, statistics)
    return VecFrameStack(env, n_stack=frames) if frames else env


def _trusted_statistics(model_path: Path) -> Path | None:
    """The statistics of ``VecNormalize`` saved beside a model; ``None`` if there are none."""
    names = [VEC_NORMALIZE, _VEC_NORMALIZE_OF_SB3]
    if checkpoint := _CHECKPOINT.fullmatch(model_path.stem):
        names.insert(0, f"{checkpoint['prefix']}_vecnormalize_{checkpoint['steps']}_steps.pkl")
    statistics = next((path for path in map(model_path.with_name, names) if path.is_file()), None)
    if statistics is not None and _is_safe(model_path):
        raise ValueError(
            f"{statistics} lies beside {model_path}: the statistics of VecNormalize are a pickle, which can run code, "
            "and so are not loaded with a file of the safe format. If you trust them, evaluate the model's zip; if the "
            "model was not trained with them, move them away"
        )
    return statistics


def _atari_frames(model_path: Path) -> int:
    """Number of AtariWrapper's frames in an observation of a saved model; 0 if it has other observations."""
    space: Any
    if _is_safe(model_path):
        space = space_from_data(read_safe(model_path)[0].get("observation_space"), "observation_space")
    else:
        space = (load_from_zip_file(model_path, device="cpu")[0] or {}).get("observation_space")
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return 0
    # The number of frames comes first if the images were transposed for torch.
    for frames, *frame in (space.shape, (space.shape[2], *space.shape[:2])):
        if tuple(frame) == ATARI_FRAME:
            return int(frames)
    return 0


def _normalized(env: VecEnv, statistics: Path) -> VecNormalize:
    """Normalise observations with fixed statistics; rewards stay as they are."""
    try:
        normalized = VecNormalize.load(str(statistics), env)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"The statistics in {statistics} are of other observations: {error}") from error
    normalized.training, normalized.norm_reward = False, False
    return normalized
