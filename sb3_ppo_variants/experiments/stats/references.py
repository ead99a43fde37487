"""What a return means: the random policy's and a reference return of each environment, with their sources.

The numbers are in ``references.json``, which ``python -m sb3_ppo_variants.experiments.stats.references`` writes: it
measures the random returns anew, of uniform actions and of untrained networks, and takes each reference from
Gymnasium's ``reward_threshold`` or, where there is none, from :data:`SOURCED`.
"""

import functools
import importlib.metadata
import importlib.resources
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray
from stable_baselines3 import PPO

from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.files import write_text

FILE = "references.json"
COMMAND = "python -m sb3_ppo_variants.experiments.stats.references"
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

# Environments for which Gymnasium registers no reward_threshold. All that matters is that the number is fixed and says
# where it comes from: a reference of another version of the environment moves the scale, not the order.
ZOO = "rl-baselines3-zoo, benchmark.md, one trained agent, deterministic"
SOURCED = {
    "Pendulum-v1": (-172.225, f"{ZOO}: ppo on Pendulum-v1, 100k steps"),
    "Walker2d-v5": (3425.0, "OpenAI Baselines' ppo2 on Walker2d-v2 (not v5), 1M steps, mean of 6 seeds"),
    "Humanoid-v5": (6232.287, f"{ZOO}: sac on Humanoid-v3 (not v5; it lists no ppo there), 2M steps"),
}


class Reference(NamedTuple):
    """The scale of an environment's returns.

    :param random: Mean return of the uniform random policy
    :param reference: A return that counts as 1
    :param source: Where the reference comes from
    :param untrained: Mean return of SB3's policy networks before any training
    """

    random: float
    reference: float
    source: str
    untrained: float


def reference_returns(environment: str) -> Reference | None:
    """The scale of an environment's returns, ``None`` for an environment that is not in ``references.json``.

    :param environment: Gymnasium id
    """
    kept = _kept()["environments"].get(environment)
    return None if kept is None else Reference(kept["random"], kept["reference"], kept["source"], kept["untrained"])


def reference_pairs(environments: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Random and reference return of those environments that have them.

    :param environments: Gymnasium ids
    :return: Environment → (random, reference)
    """
    found = {environment: reference_returns(environment) for environment in environments}
    return {environment: (r.random, r.reference) for environment, r in found.items() if r is not None}


def normalise(
    returns: ArrayLike, environment: str, references: Mapping[str, tuple[float, float]] | None = None
) -> NDArray[np.float64]:
    """(returns − random) / (reference − random): 0 for the random policy, 1 for the reference.

    :param returns: Any shape
    :param environment: Gymnasium id
    :param references: Environment → (random, reference); by default the shipped ones
    :return: Same shape
    :raises ValueError: for an environment without a reference
    """
    pairs = reference_pairs([environment]) if references is None else references
    if environment not in pairs:
        raise ValueError(
            f"There is no reference return for {environment!r}, so its returns cannot be normalised: known are "
            f"{', '.join(pairs if references is not None else ENVIRONMENTS)}. Compare ranks instead"
        )
    random, reference = pairs[environment]
    return (np.asarray(returns, dtype=np.float64) - random) / (reference - random)


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


def main(path: Path | None = None, environments: Iterable[str] = ENVIRONMENTS) -> None:
    """Measure the random returns and write ``references.json``.

    :param path: Where to; by default the file that this package ships
    :param environments: Gymnasium ids
    """
    kept = {
        "command": COMMAND,
        "episodes": EPISODES,
        "seed": SEED,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "environments": {environment: _measure(environment) for environment in environments},
    }
    write_text(path or Path(__file__).with_name(FILE), json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _measure(environment: str) -> dict[str, Any]:
    returns, untrained = random_returns(environment), untrained_returns(environment)
    threshold = gymnasium.spec(environment).reward_threshold
    source = f"reward_threshold that Gymnasium registers for {environment}"
    reference, source = SOURCED[environment] if threshold is None else (float(threshold), source)
    return {
        **_mean("random", returns),
        **_mean("untrained", untrained),
        "reference": reference,
        "source": source,
    }


def _mean(name: str, returns: NDArray[np.float64]) -> dict[str, float]:
    error = float(returns.std(ddof=1) / np.sqrt(len(returns)))
    return {name: round(float(returns.mean()), 4), f"{name}_standard_error": round(error, 4)}


@functools.cache
def _kept() -> dict[str, Any]:
    text = importlib.resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    kept: dict[str, Any] = json.loads(text)
    return kept


if __name__ == "__main__":
    main()
