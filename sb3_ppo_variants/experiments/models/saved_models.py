"""Trained models: how to find and load them, with an environment wrapped, stacked and normalised as in the training.

A model is SB3's zip, which can run code when it is loaded, or a file of the safe format, which cannot. A policy trained
on normalised observations gets a wrong score, without any error, on observations that are not.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize, unwrap_vec_normalize

from sb3_ppo_variants.algorithms.loading import LoadableAlgorithm, announced_zips
from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.engine.kept_models import MODELS
from sb3_ppo_variants.experiments.models.run_folder import BEST_MODEL
from sb3_ppo_variants.experiments.models.zoo_run import ZooRun, zoo_run
from sb3_ppo_variants.experiments.runs.environments import check_environment, is_atari, make_environment
from sb3_ppo_variants.experiments.runs.folders import MODEL, RUN, VEC_NORMALIZE, read_run
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
_STEPS = re.compile(r"_\d+_steps\.pkl$")
#: What people call files of statistics.
_NORMALIZE = re.compile(r"norm", re.IGNORECASE)
#: In the place of a file of statistics: observations are not normalised.
NO_STATISTICS = "none"


# ---- Find ----


def find_model(
    path: str | Path, environment: str | None = None, algorithm: str | type[BaseAlgorithm] | None = None
) -> tuple[Path, str, str]:
    """Find a trained model, its environment and its algorithm.

    :param path: A run folder of ours or of rl_zoo3, a model zip (its suffix may be left out), or a file of
        ``save_safe``
    :param environment: Gymnasium id, by default that of the training
    :param algorithm: Its algorithm, by default that of the training
    :return: The file, the environment and the name of the algorithm
    :raises ValueError: if there is no model, or nothing beside it says how it was trained
    """
    model_path, trained = _find(Path(path).expanduser())
    environment = environment or trained.get("environment")
    algorithm = algorithm or trained.get("algorithm") or _algorithm_in(model_path)
    if environment is None or algorithm is None:
        missing = " and ".join(n for n, v in (("--env", environment), ("--algo", algorithm)) if v is None)
        raise ValueError(f"{model_path} has nothing beside it that says how it was trained: give {missing}")
    return model_path, environment, algorithm_name(algorithm)


def _find(path: Path) -> tuple[Path, dict[str, Any]]:
    """The model file and, if known, how it was trained."""
    model_path = _model_file(path)
    if not _is_safe(model_path) and not zipfile.is_zipfile(model_path):
        raise ValueError(
            f"{model_path} is not a model: neither a zip as Stable-Baselines3 saves it, nor a {SUFFIX} file of "
            "save_safe()"
        )
    if zoo := _zoo_run_of(model_path):
        zoo.import_packages()  # they may register the environment
        return model_path, {"environment": zoo.environment, "algorithm": zoo.algorithm}
    trained = described_run(model_path)
    return model_path, _without_code(trained) if _is_safe(model_path) else trained


def _model_file(path: Path) -> Path:
    """The model that a path stands for: a file, with or without its suffix, or the model in a folder."""
    files = [path, *(path.parent / f"{path.name}{suffix}" for suffix in (".zip", SUFFIX))]
    if found := next((file for file in files if file.is_file()), None):
        return found
    zoo = zoo_run(path) if path.is_dir() else None
    names = [MODEL if zoo is None else zoo.model_path.name, BEST_MODEL]
    if found := next((file for file in (path / name for name in names) if file.is_file()), None):
        return found
    zips = sorted(path.glob("*.zip"))
    if len(zips) == 1:
        return zips[0]
    kept = [str(folder.relative_to(path)) for folder in sorted(path.glob(f"{MODELS}/*"))]
    held = [file.name for file in zips] or kept
    several = f" It holds {', '.join(held)}: give one of them" if held else ""
    raise ValueError(f"There is no model at {path}: give a run folder with {names[0]} in it, or a model file.{several}")


def _zoo_run_of(model_path: Path) -> ZooRun | None:
    # A configuration of rl_zoo3 names code, which is not run for a safe file: that may come from anywhere.
    return None if _is_safe(model_path) else zoo_run(model_path.parent)


def described_run(model_path: Path) -> dict[str, Any]:
    """What ``run.json`` in a model's folder, or in the one above it (``best/``), says of its run; empty if nothing.

    :param model_path: The model's file
    :raises ValueError: if it cannot be read
    """
    beside = next((f for f in (model_path.parent / RUN, _above(model_path) / RUN) if f.is_file()), None)
    return read_run(beside)["run"] if beside else {}


def _above(model_path: Path) -> Path:
    """The folder above a model's folder, also of a path that does not name it."""
    folder = model_path.parent
    return folder.parent if folder.name not in ("", "..") else folder / ".."


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


class Opened(NamedTuple):
    """A loaded model.

    :param model: The model
    :param env: Its environment, as in its training
    :param statistics: The file whose statistics normalise observations; ``None`` if they are not normalised
    :param unused_statistics: A file of statistics near the model that is not taken for the model's
    """

    model: BaseAlgorithm
    env: VecEnv
    statistics: Path | None
    unused_statistics: Path | None

    @property
    def normalization(self) -> str:
        """How observations are normalised, in words."""
        if self.statistics is not None:
            return f"observations normalised by {self.statistics}"
        if self.unused_statistics is not None:
            return f"observations not normalised ({self.unused_statistics}: --normalization uses it)"
        return "observations not normalised"


@contextmanager
def opened(
    model_path: Path,
    environment: str,
    algorithm: str,
    seed: int,
    normalization: str | Path | None = None,
    longest_episode: int | None = None,
    **env_kwargs: Any,
) -> Iterator[Opened]:
    """Load a model with its environment, which is closed at the end of the ``with`` block.

    In a run folder of rl_zoo3, its configuration says how the environment was wrapped. Elsewhere it gets Atari's usual
    wrapper if the model has such observations. It is normalised if statistics of ``VecNormalize`` lie where ``train``,
    rl_zoo3 and SB3's examples leave them: beside the model, or above the folder of a model that SB3's callbacks have
    saved (``best_model.zip``, ``rl_model_1000_steps.zip``).

    The statistics are a pickle, as SB3 and rl_zoo3 save them: like a model's zip, load them only from sources that you
    trust. With a file of ``save_safe``, which may come from anywhere, nothing is unpickled: statistics are loaded only
    if given, and no configuration of rl_zoo3, which names code.

    :param model_path: The model's file
    :param environment: Gymnasium id or import path
    :param algorithm: Name of its algorithm
    :param seed: Seed of the environment and of the actions
    :param normalization: File of the statistics; ``"none"`` for none; by default they are searched for
    :param longest_episode: Steps after which an episode that does not end is an error; ``None``: no limit
    :param env_kwargs: Arguments of the environment's constructor
    :raises ValueError: if there is no such environment, the algorithm does not read the safe format, statistics lie
        beside a file of ``save_safe``, those of the training are missing, or the seed is out of range
    """
    integer(at_least=0, at_most=2**32 - 1)("seed", seed)
    seed = int(seed)  # Python's random takes no integer of numpy's
    check_environment(environment)
    statistics, unused = find_statistics(model_path, normalization)
    env = _trained_environment(model_path, environment, seed, statistics, longest_episode, env_kwargs)
    try:
        model = load_model(algorithm, model_path, env)
        model.set_random_seed(seed)
        yield Opened(model, env, statistics if _normalizes_observations(env) else None, unused)
    finally:
        env.close()


def load_model(algorithm: str, path: Path, env: VecEnv | None = None, **settings: Any) -> BaseAlgorithm:
    """Load a model's file.

    :param algorithm: Name of the algorithm
    :param path: The file
    :param env: The environment; ``None``: the model is loaded without one
    :param settings: Arguments of the constructor that replace those in the file
    :raises ValueError: for a file that is damaged or that the algorithm does not read
    """
    cls = algorithm_class(algorithm)
    if not _is_safe(path):
        announced_zips.add(path)
        try:
            return cls.load(path, env=env, device="cpu", **settings)
        # What SB3 raises for zips that are cut off, hold no model, or one of another algorithm.
        except (AssertionError, AttributeError, EOFError, LookupError, RuntimeError, zipfile.BadZipFile) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"{path} cannot be loaded as {algorithm}; is it damaged, or of another algorithm? {reason}"
            ) from error
    if not issubclass(cls, LoadableAlgorithm):
        raise ValueError(
            f"{path} is in the safe format, which {algorithm} does not read: give one of {', '.join(OURS)}"
        )
    return cls.load_safe(path, env=env, device="cpu", **settings)


def _trained_environment(
    model_path: Path,
    environment: str,
    seed: int,
    statistics: Path | None,
    longest_episode: int | None,
    env_kwargs: dict[str, Any],
) -> VecEnv:
    run = _zoo_run_of(model_path)
    frames = _atari_frames(model_path) if run is None and is_atari(environment) else 0

    def wrapper(env: gymnasium.Env) -> gymnasium.Env:
        if longest_episode is not None:
            env = EpisodeGuard(env, longest_episode)
        if run is not None:
            return run.wrap(env)
        return AtariWrapper(env) if frames else env

    kwargs = env_kwargs if run is None else run.env_kwargs | env_kwargs
    env = make_environment(environment, 1, seed, wrapper=wrapper, env_kwargs=kwargs)
    if run is not None:
        env = run.wrap(env, "vec_env_wrapper")
        frames = int(run.config.get("frame_stack") or 0)
    # In rl_zoo3's order: single frames are normalised, then stacked.
    if statistics is not None:
        env = with_statistics(env, statistics)
    return VecFrameStack(env, n_stack=frames) if frames else env


class EpisodeGuard(gymnasium.Wrapper):
    """Raises an error if an episode does not end.

    :param env: The environment
    :param longest: Steps that an episode may have
    :param otherwise: What would help other than a time limit of the environment, for the message
    """

    def __init__(self, env: gymnasium.Env, longest: int, otherwise: str = "raise --max-steps"):
        super().__init__(env)
        self.longest, self.otherwise, self._steps = longest, otherwise, 0

    def reset(self, **options: Any) -> Any:
        self._steps = 0
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        self._steps += 1
        stepped = super().step(action)
        if self._steps >= self.longest and not (stepped[2] or stepped[3]):
            raise ValueError(
                f"An episode has not ended within {self.longest} steps: give the environment a time limit "
                f"(gymnasium.wrappers.TimeLimit), or {self.otherwise}"
            )
        return stepped


# ---- Statistics of VecNormalize ----


def find_statistics(model_path: Path, given: str | Path | None) -> tuple[Path | None, Path | None]:
    """The statistics that normalise a model's observations, and others nearby that do not.

    :param model_path: The model's file
    :param given: The file that the user gave, ``"none"`` for none, or ``None``: search
    :return: Two files, each ``None`` if there is none
    :raises ValueError: if statistics may not be loaded, or those of the training are missing
    """
    if given is not None:
        path = Path(given).expanduser()
        if str(given) != NO_STATISTICS and not path.is_file():
            raise ValueError(f"There is no file {path} of normalisation statistics")
        return (None, None) if str(given) == NO_STATISTICS else (path, None)
    beside = _statistics_beside(model_path)
    if _is_safe(model_path):
        if beside is not None:
            raise ValueError(
                f"{beside} lies beside {model_path}: the statistics of VecNormalize are a pickle, which can run code, "
                f"and so are not loaded with a file of the safe format. If you trust them, give --normalization "
                f"{beside}; if the model was not trained with them, --normalization {NO_STATISTICS}"
            )
        _refuse_without_statistics(model_path)
        return None, None
    run = _zoo_run_of(model_path)
    found = beside or (run.statistics if run is not None else None)
    above = None if found is not None or run is not None else _statistics_in(_above(model_path), [])
    if _is_of_a_callback(model_path):
        found = found or above
    if found is None:
        _refuse_without_statistics(model_path)
    return found, None if found else above


def _refuse_without_statistics(model_path: Path) -> None:
    normalize = described_run(model_path).get("normalize")
    if normalize and normalize.get("norm_obs", True):
        raise ValueError(
            f"{model_path} was trained in a normalised environment, but no {VEC_NORMALIZE} lies beside it: without "
            f"these statistics the policy gets other observations than in its training. Put them there; evaluate and "
            f"record also take --normalization FILE, or --normalization {NO_STATISTICS}"
        )


def _is_of_a_callback(model_path: Path) -> bool:
    """Whether SB3's EvalCallback or CheckpointCallback have saved a model: usually in a folder of their own."""
    return model_path.name == BEST_MODEL or _CHECKPOINT.fullmatch(model_path.stem) is not None


def _statistics_beside(model_path: Path) -> Path | None:
    checkpoint = _CHECKPOINT.fullmatch(model_path.stem)
    numbered = [f"{checkpoint['prefix']}_vecnormalize_{checkpoint['steps']}_steps.pkl"] if checkpoint else []
    return _statistics_in(model_path.parent, numbered)


def _statistics_in(folder: Path, names: Sequence[str]) -> Path | None:
    """A folder's file of statistics: one of the names, SB3's or rl_zoo3's, or the only one with a similar name."""
    usual = [*names, VEC_NORMALIZE, _VEC_NORMALIZE_OF_SB3]
    if found := next((path for path in (folder / name for name in usual) if path.is_file()), None):
        return found
    similar = [path for path in folder.glob("*.pkl") if _NORMALIZE.search(path.name) and not _STEPS.search(path.name)]
    return similar[0] if len(similar) == 1 else None


def with_statistics(env: VecEnv, statistics: Path, training: bool = False) -> VecNormalize:
    """Normalise an environment by saved statistics.

    :param env: The environment
    :param statistics: File of ``VecNormalize.save``
    :param training: Whether the statistics go on changing, and rewards are normalised if they were; otherwise neither
    :raises ValueError: if the file holds none, or those of other observations
    """
    normalized = _statistics(statistics)
    try:
        normalized.set_venv(env)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"The statistics in {statistics} are of other observations: {error}") from error
    normalized.training = training
    normalized.norm_reward = normalized.norm_reward and training
    return normalized


def normalization_in(statistics: Path) -> dict[str, Any]:
    """The arguments of the ``VecNormalize`` that has saved statistics.

    :param statistics: File of ``VecNormalize.save``
    :raises ValueError: if the file holds none
    """
    normalized = _statistics(statistics)
    names = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys")
    found = {name: vars(normalized).get(name) for name in names}  # files of old versions do not have all
    return {name: value for name, value in found.items() if value is not None}


def _statistics(path: Path) -> VecNormalize:
    try:
        with path.open("rb") as file:
            normalized = pickle.load(file)
        if not isinstance(normalized, VecNormalize):
            raise TypeError(f"it is a {type(normalized).__name__}")
        return normalized
    except (ValueError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path} does not hold the statistics of a VecNormalize ({type(error).__name__}: {error})"
        ) from error


def _normalizes_observations(env: VecEnv) -> bool:
    normalizer = unwrap_vec_normalize(env)
    return normalizer is not None and normalizer.norm_obs


# ---- Atari ----


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
