"""Measure the shipped reference returns: ``python -m sb3_ppo_variants.experiments.runs.measure_references``.

It writes ``references.json``, which :mod:`sb3_ppo_variants.experiments.stats.references` reads: the returns of uniform
actions and of untrained networks, measured here, and a reference return, which is Gymnasium's ``reward_threshold`` or,
for an environment without one, that of :data:`SOURCED`.
"""

import importlib.metadata
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO

from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.experiments.stats import references
from sb3_ppo_variants.files import write_text

COMMAND = "python -m sb3_ppo_variants.experiments.runs.measure_references"
EPISODES = 100
NETWORKS = 10
SEED = 0

ENVIRONMENTS = (
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3"),
    # The seven of the PPO paper (arXiv:1707.06347, Section 6.1), and two larger ones
    *("HalfCheetah-v5", "Hopper-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Reacher-v5", "Swimmer-v5"),
    *("Walker2d-v5", "Ant-v5", "Humanoid-v5"),
)

# Environments for which Gymnasium registers no reward_threshold. What matters is that the number is fixed and has a
# source: a reference of another version of the environment moves the scale, not the order.
ZOO = "rl-baselines3-zoo, benchmark.md, one trained agent, deterministic"
SOURCED = {
    "Pendulum-v1": (-172.225, f"{ZOO}: ppo on Pendulum-v1, 100k steps"),
    "Walker2d-v5": (3425.0, "OpenAI Baselines' ppo2 on Walker2d-v2 (not v5), 1M steps, mean of 6 seeds"),
    "Humanoid-v5": (6232.287, f"{ZOO}: sac on Humanoid-v3 (not v5; it lists no ppo there), 2M steps"),
}


def random_returns(environment: str, episodes: int = EPISODES, seed: int = SEED) -> NDArray[np.float64]:
    """Returns of the policy that draws each action uniformly from the action space.

    :param environment: Gymnasium id
    :param episodes: Number of episodes
    :param seed: Seeds the first reset and the action space; the same seed gives the same returns
    :return: (episodes,)
    """
    env = gymnasium.make(environment)
    env.action_space.seed(seed)
    return _played(env, lambda _: env.action_space.sample(), episodes, seed)


def untrained_returns(
    environment: str, networks: int = NETWORKS, episodes: int = EPISODES, seed: int = SEED
) -> NDArray[np.float64]:
    """Returns of SB3's policies as they are initialised, actions drawn and clipped to their bounds.

    :param environment: Gymnasium id
    :param networks: Number of networks
    :param episodes: Number of episodes, shared among the networks
    :param seed: Of the first network; the others have those that follow
    :return: (episodes,)
    """
    return np.concatenate(
        [_untrained(environment, episodes // networks, seed + network) for network in range(networks)]
    )


def _untrained(environment: str, episodes: int, seed: int) -> NDArray[np.float64]:
    env = gymnasium.make(environment)
    model = PPO(policy_name(env.observation_space), env, seed=seed, device="cpu")
    return _played(env, lambda observation: model.predict(observation)[0], episodes, seed)


def _played(env: gymnasium.Env, act: Callable[[Any], Any], episodes: int, seed: int) -> NDArray[np.float64]:
    returns = np.zeros(episodes)
    try:
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed if episode == 0 else None)
            ended = False
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(act(observation))
                returns[episode] += float(reward)
                ended = terminated or truncated
    finally:
        env.close()
    return returns


def main(path: Path = references.FILE, environments: Iterable[str] = ENVIRONMENTS) -> None:
    """Measure the returns of random and of untrained policies and write them, with the references, to
    ``references.json``.

    :param path: File to write
    :param environments: Gymnasium ids
    """
    measured = {
        "command": COMMAND,
        "episodes": EPISODES,
        "seed": SEED,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "environments": {environment: _measure(environment) for environment in environments},
    }
    write_text(path, json.dumps(measured, indent=2, ensure_ascii=False) + "\n")


def _measure(environment: str) -> dict[str, Any]:
    threshold = gymnasium.spec(environment).reward_threshold
    registered = f"reward_threshold that Gymnasium registers for {environment}"
    reference, source = SOURCED[environment] if threshold is None else (float(threshold), registered)
    return {
        **_mean("random", random_returns(environment)),
        **_mean("untrained", untrained_returns(environment)),
        "reference": reference,
        "source": source,
    }


def _mean(name: str, returns: NDArray[np.float64]) -> dict[str, float]:
    error = float(returns.std(ddof=1) / np.sqrt(len(returns)))
    return {name: round(float(returns.mean()), 4), f"{name}_standard_error": round(error, 4)}


if __name__ == "__main__":
    main()
