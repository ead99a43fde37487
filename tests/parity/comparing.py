"""Environments for parity tests, and what they compare."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from tests.environments import MaskedWalk, RandomWalk


def make_env(observations="vector", actions="box", n_envs=1, normalize=False, allowed: float | None = None) -> VecEnv:
    """:param allowed: See ``MaskedWalk``; ``None``: an environment without action masks"""

    def make() -> RandomWalk:
        return RandomWalk(observations, actions) if allowed is None else MaskedWalk(observations, actions, allowed)

    env = make_vec_env(make, n_envs=n_envs)
    return VecNormalize(env) if normalize else env


def assert_same_tensors(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            assert_same_tensors(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same_tensors(*pair, f"{where}.{index}")
    elif isinstance(theirs, th.Tensor):
        assert th.equal(ours, theirs), where
    else:
        assert ours == theirs, where


def assert_same_log(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    measured = {key for key in theirs if not key.startswith("time/")}
    assert measured <= ours.keys()
    for key in measured:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
