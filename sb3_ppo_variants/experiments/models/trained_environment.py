"""The environment of a trained model: wrapped, stacked and normalised as in its training.

A policy trained on normalised observations gets a wrong score, without any error, on observations that are not.
"""

from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from sb3_ppo_variants.experiments.models.saved_models import is_safe, saved_observation_space, vec_normalize_beside
from sb3_ppo_variants.experiments.models.zoo_run import zoo_run
from sb3_ppo_variants.experiments.runs.environments import is_atari, make_environment

#: Size of AtariWrapper's frames.
ATARI_FRAME = (84, 84)


def trained_environment(model_path: Path, environment: str, seed: int, **env_kwargs: Any) -> VecEnv:
    """One environment, wrapped and normalised as in the model's training.

    In a run folder of rl_zoo3, its configuration says how. Elsewhere the environment gets Atari's usual wrapper if the
    model has such observations, and is normalised if the statistics of ``VecNormalize`` lie beside the model.

    The statistics are a pickle, as SB3 and rl_zoo3 save them: like a model's zip, load them only from sources that you
    trust. With a file of ``save_safe``, which may come from anywhere, no statistics are loaded, and no configuration of
    rl_zoo3, which names code.

    :param model_path: The model's file
    :param environment: Gymnasium id or import path
    :param seed: Its seed
    :param env_kwargs: Arguments of its constructor
    :raises ValueError: if statistics lie beside a file of ``save_safe``
    """
    run = None if is_safe(model_path) else zoo_run(model_path.parent)
    if run is None:
        frames = _atari_frames(model_path) if is_atari(environment) else 0
        wrapper = AtariWrapper if frames else None
        env = make_environment(environment, 1, seed, wrapper=wrapper, env_kwargs=env_kwargs)
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
    statistics = vec_normalize_beside(model_path)
    if statistics is not None and is_safe(model_path):
        raise ValueError(
            f"{statistics} lies beside {model_path}: the statistics of VecNormalize are a pickle, which can run code, "
            "and so are not loaded with a file of the safe format. If you trust them, evaluate the model's zip; if the "
            "model was not trained with them, move them away"
        )
    return statistics


def _atari_frames(model_path: Path) -> int:
    """Number of AtariWrapper's frames in an observation of a saved model; 0 if it has other observations."""
    space = saved_observation_space(model_path)
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
