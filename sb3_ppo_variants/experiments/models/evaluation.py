"""Evaluate a trained model."""

import dataclasses
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_variants.experiments.models.saved_models import SEED, check_positive, find_model, opened


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of a trained model.

    :param algorithm: Its algorithm
    :param environment: Gymnasium id
    :param returns: Return of each episode
    :param lengths: Steps of each episode
    """

    algorithm: str
    environment: str
    returns: list[float]
    lengths: list[int]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes."""
        return float(np.std(self.returns))


def evaluate(
    path: str | Path,
    environment: str | None = None,
    algorithm: str | type[BaseAlgorithm] | None = None,
    *,
    episodes: int = 20,
    seed: int = SEED,
    deterministic: bool = True,
) -> Evaluation:
    """Score a trained model in its environment, wrapped and normalised as in its training (see
    :func:`.saved_models.opened`).

    A model's zip and the statistics of ``VecNormalize`` beside it contain pickles, which can run code: load only your
    own models, or those of people you trust. A file of ``save_safe`` contains none.

    :param path: A run folder of ours or of rl_zoo3, a model zip, or a file of ``save_safe``
    :param environment: Gymnasium id, by default that of the training
    :param algorithm: Its algorithm, by default that of the training
    :param episodes: Number of episodes
    :param seed: Seed of the environment and of the actions
    :param deterministic: Take the most likely action instead of sampling one
    :return: The scores
    :raises ValueError: if there is no such model or environment
    """
    check_positive("episodes", episodes)
    model_path, environment, name = find_model(path, environment, algorithm)
    with opened(model_path, environment, name, seed) as (model, env):
        returns, lengths = evaluate_policy(
            model, env, n_eval_episodes=episodes, deterministic=deterministic, return_episode_rewards=True
        )
    return Evaluation(name, environment, [float(r) for r in returns], [int(n) for n in lengths])  # type: ignore[union-attr]
