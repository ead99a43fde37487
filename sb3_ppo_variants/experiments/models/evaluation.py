"""Evaluate a trained model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_variants.experiments.models.saved_models import check_model_file, is_safe, load_model, saved_algorithm
from sb3_ppo_variants.experiments.models.trained_environment import trained_environment
from sb3_ppo_variants.experiments.models.training import MODEL, RUN
from sb3_ppo_variants.experiments.models.zoo_run import zoo_run
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.registry import KNOWN, algorithm_name

SEED = 10_000  # away from the seeds that people train with


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
    :mod:`.trained_environment`).

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
    check_environment(environment)
    env = trained_environment(model_path, environment, seed)
    try:
        model = load_model(name, model_path, env)
        model.set_random_seed(seed)
        returns, lengths = evaluate_policy(
            model, env, n_eval_episodes=episodes, deterministic=deterministic, return_episode_rewards=True
        )
    finally:
        env.close()
    return Evaluation(name, environment, [float(r) for r in returns], [int(n) for n in lengths])  # type: ignore[union-attr]


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
    algorithm = algorithm or trained.get("algorithm") or saved_algorithm(model_path)
    if environment is None or algorithm is None:
        missing = " and ".join(n for n, v in (("--env", environment), ("--algo", algorithm)) if v is None)
        raise ValueError(f"{model_path} has nothing beside it that says how it was trained: give {missing}")
    return model_path, environment, algorithm_name(algorithm)


def _find(path: Path) -> tuple[Path, dict[str, Any]]:
    """The model file and, if known, how it was trained."""
    # A configuration of rl_zoo3 names code, which is not run for a safe file: that may come from anywhere.
    zoo = None if is_safe(path) else zoo_run(path if path.is_dir() else path.parent)
    folders_model = MODEL if zoo is None else zoo.model_path.name
    model_path = path / folders_model if path.is_dir() else path
    if not model_path.is_file():
        raise ValueError(f"There is no model at {path}: give a run folder with {folders_model} in it, or a model file")
    check_model_file(model_path)
    if zoo is not None:
        zoo.import_packages()  # they may register the environment
        return model_path, {"environment": zoo.environment, "algorithm": zoo.algorithm}
    beside = model_path.parent / RUN
    trained = json.loads(beside.read_text(encoding="utf-8"))["run"] if beside.is_file() else {}
    return model_path, _without_code(trained) if is_safe(model_path) else trained


def _without_code(trained: dict[str, Any]) -> dict[str, Any]:
    """How a safe file was trained, without import paths: the files beside it may come from anywhere, too."""
    environment, algorithm = trained.get("environment"), trained.get("algorithm")
    return {
        "environment": None if ":" in str(environment) else environment,
        "algorithm": algorithm if algorithm in KNOWN else None,
    }
