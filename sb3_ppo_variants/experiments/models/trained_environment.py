"""The environment that a trained model knows: wrapped, stacked and normalised as in its training.

Without this a policy that was trained on normalised observations is blind, and its score is wrong without a word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from sb3_ppo_variants.experiments.models.saved_models import is_safe, saved_observation_space
from sb3_ppo_variants.experiments.models.vec_normalize_files import statistics_beside
from sb3_ppo_variants.experiments.models.zoo_run import zoo_run
from sb3_ppo_variants.experiments.runs.environments import is_atari, make_environment

#: What AtariWrapper makes of a frame.
ATARI_FRAME = (84, 84)


def trained_environment(model_path: Path, environment: str, seed: int, **env_kwargs: Any) -> VecEnv:
    """One environment as the model was trained in it: as rl_zoo3's configuration says where the model lies in a run
    folder of rl_zoo3; else in Atari's usual wrapper where the model has such observations, and normalised where
    statistics lie beside the model.

    Statistics are a pickle, as SB3 and rl_zoo3 save them: like a model's zip, load them only from whom you trust. None
    are loaded for a file of ``save_safe``, which may be anybody's, and no configuration of rl_zoo3's, which names code.

    :param model_path: The model's file
    :param environment: Gymnasium id or import path
    :param seed: Its seed
    :param env_kwargs: For its constructor
    :raises ValueError: if statistics lie beside a file of ``save_safe``
    """
    run = None if is_safe(model_path) else zoo_run(model_path.parent)
    if run is None:
        env, frames = _by_observations(model_path, environment, seed, env_kwargs)
        statistics = _trusted_statistics(model_path)
    else:
        env = make_environment(environment, 1, seed, wrapper=run.wrapper(), env_kwargs=run.env_kwargs | env_kwargs)
        if wrap := run.wrapper("vec_env_wrapper"):
            env = wrap(env)
        frames, statistics = run.frame_stack, run.statistics
    # In rl_zoo3's order: single frames are normalised, then stacked.
    if statistics is not None:
        env = _normalized(env, statistics)
    return VecFrameStack(env, n_stack=frames) if frames else env


def _trusted_statistics(model_path: Path) -> Path | None:
    statistics = statistics_beside(model_path)
    if statistics is not None and is_safe(model_path):
        raise ValueError(
            f"{statistics} lies beside {model_path}: the statistics of VecNormalize are a pickle, which can run code, "
            "and so are not loaded with a file of the safe format. If you trust them, evaluate the model's zip; if the "
            "model was not trained with them, move them away"
        )
    return statistics


def _by_observations(
    model_path: Path, environment: str, seed: int, env_kwargs: Mapping[str, Any]
) -> tuple[VecEnv, int]:
    """The environment, in Atari's wrapper if the model's observations are its; and the frames in one of them."""
    frames = _atari_frames(model_path) if is_atari(environment) else 0
    return make_environment(
        environment, 1, seed, wrapper=AtariWrapper if frames else None, env_kwargs=env_kwargs
    ), frames


def _atari_frames(model_path: Path) -> int:
    """How many of AtariWrapper's frames an observation of a saved model has; 0: it has none of them."""
    space = saved_observation_space(model_path)
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return 0
    # The number of frames comes first where pictures were transposed for torch.
    for frames, *frame in (space.shape, (space.shape[2], *space.shape[:2])):
        if tuple(frame) == ATARI_FRAME:
            return int(frames)
    return 0


def _normalized(env: VecEnv, statistics: Path) -> VecNormalize:
    """Normalised as in the training; no longer learning, and with rewards as they are."""
    try:
        normalized = VecNormalize.load(str(statistics), env)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"The statistics in {statistics} are of other observations: {error}") from error
    normalized.training, normalized.norm_reward = False, False
    return normalized
