"""Evaluate a trained model."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.models.saved_models import SEED, find_model, opened
from sb3_ppo_variants.experiments.runs.playing import with_masks

#: Steps after which an episode counts as one that never ends: more than Atari's longest, 27,000.
LONGEST_EPISODE = 100_000


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of a trained model.

    :param algorithm: Its algorithm
    :param environment: Gymnasium id
    :param returns: Return of each episode
    :param lengths: Steps of each episode
    :param normalization: How observations were normalised, in words
    """

    algorithm: str
    environment: str
    returns: list[float]
    lengths: list[int]
    normalization: str = "observations not normalised"

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
    normalization: str | Path | None = None,
    max_steps: int = LONGEST_EPISODE,
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
    :param normalization: File of ``VecNormalize``'s statistics, or ``"none"`` for none; by default they are searched
        for where ``train``, rl_zoo3 and SB3's examples leave them
    :param max_steps: Steps that an episode may have
    :return: The scores
    :raises ValueError: if there is no such model or environment, or an episode does not end
    """
    integer(at_least=1)("episodes", episodes)
    integer(at_least=1)("max_steps", max_steps)
    model_path, environment, name = find_model(path, environment, algorithm)
    with opened(model_path, environment, name, seed, normalization, max_steps) as found:
        returns: Any
        lengths: Any
        returns, lengths = evaluate_policy(
            with_masks(found.model, found.env),
            found.env,
            n_eval_episodes=episodes,
            deterministic=deterministic,
            return_episode_rewards=True,
        )
    return Evaluation(name, environment, [float(r) for r in returns], [int(n) for n in lengths], found.normalization)
