"""Evaluations during a training, by SB3's EvalCallback: the model with the best one is kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_ppo_variants.experiments.models.evaluation import LONGEST_EPISODE
from sb3_ppo_variants.experiments.models.run_folder import BEST, EVALUATIONS
from sb3_ppo_variants.experiments.models.saved_models import SEED, EpisodeGuard
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.folders import VEC_NORMALIZE
from sb3_ppo_variants.experiments.runs.playing import EvaluatesWithMasks
from sb3_ppo_variants.experiments.runs.run import Result, Run, Start, is_masked
from sb3_ppo_variants.files import atomic


class SaveStatistics(BaseCallback):
    """Saves the statistics of ``VecNormalize`` beside each new best model.

    :param folder: The best model's folder
    """

    reads_step_values = False

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def _on_step(self) -> bool:
        normalizer = self.model.get_vec_normalize_env()
        if normalizer is not None:
            with atomic(self.folder / VEC_NORMALIZE) as temporary:
                normalizer.save(str(temporary))
        return True


@contextmanager
def evaluation_callbacks(
    run: Run, start: Start | None, every: int | None, episodes: int, folder: Path, earlier: Result | None
) -> Iterator[list[EvalCallback]]:
    """The callback that evaluates a training, with an environment of its own that is closed at the end.

    The best model is ``best/best_model.zip``, with its statistics of ``VecNormalize``; ``evaluations.npz`` holds the
    returns. The training is the same as without evaluations.

    :param run: The run
    :param start: The trained model from which it starts
    :param every: Steps between evaluations; ``None``: no evaluations
    :param episodes: Episodes of an evaluation
    :param folder: The run folder
    :param earlier: The result of this run before it is extended, whose evaluations are in the folder
    """
    if every is None:
        yield []
        return
    env = _environment(run, start)
    try:
        # A model to start from may have masks that the settings do not name. Checkpoints know SB3's class by its name.
        kind = EvaluatesWithMasks if start is not None or is_masked(run) else EvalCallback
        callback = kind(
            env,
            callback_on_new_best=SaveStatistics(folder / BEST),
            n_eval_episodes=episodes,
            eval_freq=max(1, every // run.n_envs),
            log_path=str(folder),
            best_model_save_path=str(folder / BEST),
            verbose=0,
            warn=False,
        )
        if earlier is not None and (folder / EVALUATIONS).is_file():
            _follow(callback, folder, earlier.steps)
        yield [callback]
    finally:
        env.close()


def _environment(run: Run, start: Start | None) -> VecEnv:
    def guarded(env: gymnasium.Env) -> gymnasium.Env:
        return EpisodeGuard(env, LONGEST_EPISODE, "train without --eval-every")

    normalize = run.normalize if start is None else None  # start.wrap does it
    env = make_environment(run.environment, 1, SEED + run.seed, normalize, wrapper=guarded)
    env = env if start is None else start.wrap(env)
    normalizer = unwrap_vec_normalize(env)
    if isinstance(normalizer, VecNormalize):
        normalizer.training, normalizer.norm_reward = False, False
    return env


def _follow(callback: EvalCallback, folder: Path, steps: int) -> None:
    """Let the evaluations of an extended run follow its earlier ones, but not those of an extension that was killed."""
    with np.load(folder / EVALUATIONS) as kept:
        earlier = kept["timesteps"] <= steps
        callback.evaluations_timesteps = kept["timesteps"][earlier].tolist()
        callback.evaluations_results = kept["results"][earlier].tolist()
        callback.evaluations_length = kept["ep_lengths"][earlier].tolist()
    callback.best_mean_reward = float(max(map(np.mean, callback.evaluations_results), default=-np.inf))


def best_evaluation(folder: Path) -> tuple[float, int] | None:
    """The best mean return of a run's evaluations and the step at which it was reached; ``None`` without evaluations.

    :param folder: The run folder
    """
    if not (folder / EVALUATIONS).is_file():
        return None
    with np.load(folder / EVALUATIONS) as kept:
        means = kept["results"].mean(axis=1)
        best = int(means.argmax())
        return float(means[best]), int(kept["timesteps"][best])
