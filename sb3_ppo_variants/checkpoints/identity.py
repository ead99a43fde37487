"""What makes two runs the same run, and what may make them differ."""

import inspect
import platform
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

# Arguments that change nothing about the run, and those that are compared otherwise.
_ASIDE = {"policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model"}
_PACKAGES = (sb3, th, np, gym)


def describe(model: OnPolicyAlgorithm, total_timesteps: int) -> dict[str, Any]:
    """
    :param model: Not trained yet
    :param total_timesteps: Steps asked for
    :return: as JSON values: its class, the steps asked for, its environments' number and its settings; a schedule is
        described by three of its values
    """
    names = [name for name in inspect.signature(type(model)).parameters if name not in _ASIDE and name in vars(model)]
    return {
        "class": type(model).__name__,
        "total_timesteps": total_timesteps,
        "n_envs": model.n_envs,
        "policy_class": type(model.policy).__name__,
        **{name: _described(getattr(model, name)) for name in names},
    }


def check_same_run(before: dict[str, Any], now: dict[str, Any], where: str) -> None:
    """
    :param before: ``describe`` of the run that made the checkpoint
    :param now: ``describe`` of the run that is to go on from it
    :param where: The checkpoint's file, for the message
    :raises ValueError: they are not the same run
    """
    for name in [*before, *(now.keys() - before.keys())]:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{where} is of a run with {name}={before.get(name)!r}; this one has {now.get(name)!r}: resume it as "
                "it was begun, or begin another in another folder."
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


def _described(value: Any) -> Any:
    if callable(value) and not isinstance(value, type):
        return [_described(value(progress)) for progress in (1.0, 0.5, 0.0)]
    return value if isinstance(value, bool | int | float | str | None) else f"<{type(value).__name__}>"
