"""What makes two runs the same run, and what may make them differ."""

import inspect
import platform
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.resume.descriptions import described, described_space
from sb3_ppo_variants.resume.environments import describe_environments, describe_wrappers

# Arguments that change nothing about the run, and those that are compared otherwise.
_ASIDE = {"policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model"}
_PACKAGES = (sb3, th, np, gym)
# Remaining progress at which two schedules are compared, besides 1, 0.5 and 0.
_IN_BETWEEN = [i / 32 for i in range(31, 0, -1) if i != 16]


def describe(model: OnPolicyAlgorithm, total_timesteps: int) -> dict[str, Any]:
    """
    :param model: Not trained yet
    :param total_timesteps: Steps asked for
    :return: as JSON values: its class, the steps asked for, its environments and spaces, and its settings; a schedule
        is described by some of its values
    """
    names = [name for name in inspect.signature(type(model)).parameters if name not in _ASIDE and name in vars(model)]
    settings = {name: getattr(model, name) for name in names}
    schedules = {name: value for name, value in settings.items() if callable(value) and not isinstance(value, type)}
    env = model.get_env()
    return {
        "class": type(model).__name__,
        "total_timesteps": total_timesteps,
        "n_envs": model.n_envs,
        "environment": None if env is None else describe_environments(env),
        "wrappers": None if env is None else describe_wrappers(env),
        "observation_space": described_space(model.observation_space),
        "action_space": described_space(model.action_space),
        "policy_class": type(model.policy).__name__,
        **{name: described(value) for name, value in settings.items() if name not in schedules},
        **{name: [described(value(at)) for at in (1.0, 0.5, 0.0)] for name, value in schedules.items()},
        "schedules": {name: {str(at): described(value(at)) for at in _IN_BETWEEN} for name, value in schedules.items()},
    }


def check_same_run(before: dict[str, Any], now: dict[str, Any], where: str) -> None:
    """
    :param before: ``describe`` of the run that made the checkpoint
    :param now: ``describe`` of the run that is to go on from it
    :param where: The checkpoint's file, for the message
    :raises ValueError: they are not the same run
    """
    # What an earlier version had not written down cannot be compared.
    for name, then, here in _differing(before, {name: now.get(name) for name in before}):
        raise ValueError(
            f"{where} is of a run with {name}={then!r}; this one has {here!r}: resume it as it was begun, or begin "
            "another in another folder."
        )


def surroundings() -> dict[str, Any]:
    """
    :return: the versions and the number of threads, which results may depend on to the last bit
    """
    versions = {package.__name__: str(package.__version__) for package in _PACKAGES}
    return {"python": platform.python_version(), **versions, "torch threads": th.get_num_threads()}


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """
    :param before: ``surroundings`` then
    :param now: ``surroundings`` now
    :return: what differs, for people; empty if nothing does
    """
    return ", ".join(
        f"{name} {before.get(name)} then, {now[name]} now" for name in now if before.get(name) != now[name]
    )


def _differing(before: dict[str, Any], now: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value then and value now of what differs; of dictionaries, the entries that do."""
    # What is one value first: it says more than the particulars that follow from it.
    for key in sorted(before.keys() | now.keys(), key=lambda key: (isinstance(before.get(key), dict), key)):
        then, here, name = before.get(key), now.get(key), f"{within}[{key}]" if within else key
        if isinstance(then, dict) and isinstance(here, dict):
            yield from _differing(then, here, name)
        elif then != here:
            yield name, then, here
