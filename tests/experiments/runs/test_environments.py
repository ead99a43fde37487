"""Environments by name."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ppo_variants.experiments.runs.environments import check_environment, make_environment, maker, normalization


class Mine(CartPoleEnv):
    """An environment that is registered nowhere."""


NOT_ONE = 3


def make_mine() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Mine(), 7)


def make_nothing() -> int:
    return 3


def make_trouble() -> gymnasium.Env:
    raise RuntimeError("no display")


HERE = "tests.experiments.runs.test_environments"


def test_import_paths() -> None:
    assert maker("CartPole-v1") == "CartPole-v1"
    assert maker(f"{HERE}:Mine") is Mine
    assert maker(f"{HERE}:Mine-v0") == f"{HERE}:Mine-v0"  # Gymnasium's own form
    env = make_environment(f"{HERE}:make_mine", 2, seed=1)
    env.reset()
    lengths = [info["episode"]["l"] for _ in range(7) for info in env.step(np.array([0, 1]))[3] if "episode" in info]
    assert lengths
    assert max(lengths) <= 7
    for name in ("CartPole-v1", f"{HERE}:Mine", f"{HERE}:make_mine"):
        check_environment(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "Cannot make the environment 'CartPol-v1'.*Did you mean"),
        ("no.such.module:Env", "Cannot make the environment 'no.such.module:Env'.*No module named"),
        (f"{HERE}:NoSuch", "Module .*test_environments has no 'NoSuch'"),
        (f"{HERE}:Minee", "has no 'Minee'. Did you mean 'Mine'"),
        (f"{HERE}:make_trouble", "Cannot make the environment .*: RuntimeError: no display"),
        (f"{HERE}:NOT_ONE", "is 3: give a class or function"),
        (f"{HERE}:make_nothing", "makes 3, which is not a gymnasium.Env"),
        (f"{HERE}:Scripted", "Cannot make the environment"),
    ],
)
def test_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_environment(name)


@pytest.mark.parametrize("name", ["MiniGrid-Empty-5x5-v0", "AntBulletEnv-v0", "PandaReach-v3", "dm_control/walker-v0"])
def test_an_unregistered_environment_is_not_answered_with_an_unrelated_one(name: str) -> None:
    with pytest.raises(ValueError, match="no such environment is registered") as info:
        check_environment(name)
    assert "Did you mean" not in str(info.value)
    assert f"write package:{name}" in str(info.value)


@pytest.mark.parametrize("name", ["CartPol-v1", "cartpole", "Cart-Pole-v1"])
def test_a_misspelt_environment(name: str) -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'CartPole-v1'\?"):
        check_environment(name)


@pytest.mark.parametrize(
    ("name", "module", "package", "extra"),
    [
        ("LunarLander-v3", "Box2D", "gymnasium.envs.box2d", "box2d"),
        ("BipedalWalker-v3", "Box2D", "gymnasium.envs.box2d", "box2d"),
        ("Hopper-v5", "mujoco", "gymnasium.envs.mujoco", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(
    name: str, module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for imported in [m for m in sys.modules if m.startswith(package)]:
        monkeypatch.delitem(sys.modules, imported)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"needs pip install 'sb3_ppo_variants\[{extra}\]'"):
        check_environment(name)


class Scripted(gymnasium.Env[Any, Any]):
    def __init__(self, needed: int):
        pass


def test_normalization() -> None:
    assert normalization(None) is None
    assert normalization("observations") == {"norm_obs": True, "norm_reward": False}
    assert normalization({"clip_obs": 5.0}) == {"clip_obs": 5.0}
    with pytest.raises(ValueError, match="normalize is 'obs': choose observations, rewards, both"):
        normalization("obs")
    env = make_environment("Pendulum-v1", 1, 0, {"norm_reward": False, "clip_obs": 0.5})
    assert isinstance(env, VecNormalize)
    env.reset()
    observations = [env.step(np.array([[2.0]]))[0] for _ in range(20)]
    assert np.max(np.abs(observations)) == 0.5
