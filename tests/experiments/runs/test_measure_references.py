"""The shipped reference returns against Gymnasium and against episodes played here."""

import importlib.util
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO

from sb3_ppo_variants.experiments.runs.measure_references import (
    COMMAND,
    ENVIRONMENTS,
    SOURCED,
    main,
    random_returns,
    untrained_returns,
)
from sb3_ppo_variants.experiments.stats.references import FILE, reference_returns


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_reference_has_its_source(environment: str) -> None:
    found = reference_returns(environment)
    assert found is not None
    assert found.reference > found.random
    threshold = gymnasium.spec(environment).reward_threshold
    if threshold is None:
        assert (found.reference, found.source) == SOURCED[environment]
    else:
        assert found.reference == threshold
        assert found.source == f"reward_threshold that Gymnasium registers for {environment}"


def test_the_papers_environments_are_there() -> None:
    seven = {"HalfCheetah", "Hopper", "InvertedDoublePendulum", "InvertedPendulum", "Reacher", "Swimmer", "Walker2d"}
    assert {f"{name}-v5" for name in seven} < set(ENVIRONMENTS)


def test_the_measured_returns_are_reproduced() -> None:
    # Pendulum's first return by hand: seed 0, and a uniform action each step.
    env = gymnasium.make("Pendulum-v1")
    env.action_space.seed(0)
    env.reset(seed=0)
    expected = sum(float(env.step(env.action_space.sample())[1]) for _ in range(200))
    assert random_returns("Pendulum-v1", episodes=1)[0] == pytest.approx(expected)
    shipped = reference_returns("CartPole-v1")
    assert shipped is not None
    # An untrained policy's first two episodes by hand: SB3's own network, and its own way to act.
    env = gymnasium.make("CartPole-v1")
    model = PPO("MlpPolicy", env, seed=3, device="cpu")
    lengths, (observation, _) = [0, 0], env.reset(seed=3)
    for episode in range(2):
        ended = False
        while not ended:
            observation, _, terminated, truncated, _ = env.step(model.predict(observation)[0])
            lengths[episode] += 1
            ended = terminated or truncated
        observation, _ = env.reset()
    assert untrained_returns("CartPole-v1", networks=1, episodes=2, seed=3).tolist() == lengths
    assert shipped.random == pytest.approx(random_returns("CartPole-v1").mean(), abs=1e-4)


def test_main_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    main(path, ["CartPole-v1"])
    written = json.loads(path.read_text())
    shipped = json.loads(FILE.read_text())
    assert written["command"] == shipped["command"] == COMMAND
    module = COMMAND.removeprefix("python -m ")
    assert importlib.util.find_spec(module) is not None
    assert written["environments"]["CartPole-v1"] == shipped["environments"]["CartPole-v1"]
    assert list(shipped["environments"]) == list(ENVIRONMENTS)
    returns = random_returns("CartPole-v1")
    error = returns.std(ddof=1) / np.sqrt(100)
    assert written["environments"]["CartPole-v1"]["random_standard_error"] == pytest.approx(error, abs=1e-4)
