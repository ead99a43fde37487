"""Whether the run that resumes is the one that made the checkpoint, and what may make their results differ."""

import platform
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.algorithms.arguments import parameters_of_constructor
from sb3_ppo_variants.backends import kernel_versions
from sb3_ppo_variants.objectives import KLAdaptiveRate
from sb3_ppo_variants.resume.descriptions import described
from sb3_ppo_variants.resume.environments import describe_environments, describe_wrappers
from sb3_ppo_variants.resume.random_states import capture_random_states, restore_random_states
from sb3_ppo_variants.workers import WorkerVecEnv
from sb3_ppo_variants.workers.collecting import why_not_by_workers

# Arguments that change nothing about the run, or are compared in another way.
_ASIDE = {"policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model"}
_PACKAGES = (sb3, th, np, gym)
# Values of the remaining progress at which two schedules are compared.
_FIRST = (1.0, 0.5, 0.0)
#: Of an environment's description: they may change in training, and are restored.
ATTRIBUTES = "attributes"
_IN_BETWEEN = [i / 32 for i in range(31, 0, -1) if i != 16]


def describe(model: OnPolicyAlgorithm, total_timesteps: int) -> dict[str, Any]:
    """
    :param model: A model that is not trained yet
    :param total_timesteps: Argument of ``learn``
    :return: as JSON values: its class, the steps asked for, its environments and spaces, and its settings; a schedule
        is described by some of its values
    """
    names = [name for name in parameters_of_constructor(type(model)) if name not in _ASIDE and name in vars(model)]
    settings = {name: getattr(model, name) for name in names}
    # Its values say nothing of what it follows; it is data.
    no_schedules = type | KLAdaptiveRate
    schedules = {
        name: value for name, value in settings.items() if callable(value) and not isinstance(value, no_schedules)
    }
    values = {name: found for name, value in schedules.items() if (found := _values(value)) is not None}
    env = model.get_env()
    return {
        "class": type(model).__name__,
        "total_timesteps": described(total_timesteps),
        "n_envs": model.n_envs,
        "environment": None if env is None else describe_environments(env),
        "wrappers": None if env is None else describe_wrappers(env),
        "observation_space": _described_space(model.observation_space),
        "action_space": _described_space(model.action_space),
        "policy_class": type(model.policy).__name__,
        **_described_backend(model),
        "workers_collect": _workers_collect(model),
        **{name: described(value) for name, value in settings.items() if name not in values},
        **{name: [found[at] for at in _FIRST] for name, found in values.items()},
        "schedules": {name: {str(at): found[at] for at in _IN_BETWEEN} for name, found in values.items()},
    }


def _values(schedule: Callable[[float], Any]) -> dict[float, Any] | None:
    """
    A schedule's values by remaining progress; ``None``: it is another function, of a user's own class, say. What it
    draws for them does not shift the training's draws.
    """
    random_states = capture_random_states()
    try:
        return {at: described(schedule(at)) for at in (*_FIRST, *_IN_BETWEEN)}
    except Exception:
        return None
    finally:
        restore_random_states(random_states)


def check_same_run(before: dict[str, Any], now: dict[str, Any], where: str) -> None:
    """
    :param before: ``describe`` of the run that made the checkpoint
    :param now: ``describe`` of the run that resumes from it
    :param where: The checkpoint's file, for the message
    :raises ValueError: they are not the same run
    """
    for name, then, here in _differing(_comparable(before, before), _comparable(now, before)):
        raise ValueError(
            f"{where} is of a run with {name}={then!r}; this one has {here!r}: resume it as it was begun, or begin "
            "another in another folder."
        )


def _comparable(described: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Only what the checkpoint has: an earlier version may have described less. And without what may change."""
    kept: dict[str, Any] = {name: described.get(name) for name in before}
    if kept.get("schedules"):
        kept["schedules"] = {name: kept["schedules"].get(name) for name in before["schedules"]}
    if kept.get("environment"):
        kept["environment"] = {
            number: {name: value for name, value in one.items() if name != ATTRIBUTES}
            for number, one in kept["environment"].items()
        }
    return kept


def changed_attributes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """
    :param before: ``describe`` of the run that made the checkpoint
    :param now: ``describe`` of the run that resumes from it
    :return: which attributes its environments began with that these have not, for people; empty if there are none
    """
    then, here = (
        {number: one[ATTRIBUTES] for number, one in (run.get("environment") or {}).items() if ATTRIBUTES in one}
        for run in (before, now)
    )
    differing = _differing({"environment": then}, {"environment": {number: here.get(number) for number in then}})
    return ", ".join(f"{name} {before} then, {now} now" for name, before, now in differing)


def refuse_schedules(now: dict[str, Any], where: str) -> None:
    """
    :param now: ``describe`` of the longer run that a finished one would become
    :param where: The checkpoint's file, for the message
    :raises ValueError: a coefficient changes over the run: a longer run would have had other values from the start
    """
    changing = [name for name, values in now["schedules"].items() if len(set(map(str, values.values()))) > 1]
    if changing:
        raise ValueError(
            f"{where} is of a finished run with {' and '.join(changing)} as schedule over its timesteps, which more of "
            "them would stretch: begin another run, or start one from its model (train --from)."
        )


def surroundings(model: OnPolicyAlgorithm) -> dict[str, Any]:
    """
    :param model: The model that is trained
    :return: the versions and the number of threads, on which the last bits of results may depend
    """
    versions = {package.__name__: str(package.__version__) for package in _PACKAGES}
    versions |= kernel_versions(getattr(model, "active_backend", None))
    return {"python": platform.python_version(), **versions, "torch threads": th.get_num_threads()}


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """
    :param before: ``surroundings`` of the run that made the checkpoint
    :param now: ``surroundings`` of this process
    :return: what differs, for people; empty if nothing does
    """
    differing = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {before.get(name)} then, {now[name]} now" for name in differing)


def _described_backend(model: OnPolicyAlgorithm) -> dict[str, str]:
    # Backends round differently. SB3's own algorithms have none.
    backend: str | None = getattr(model, "active_backend", None)
    return {} if backend is None else {"active_backend": backend}


def _workers_collect(model: OnPolicyAlgorithm) -> bool:
    # They draw other random numbers, the same for any number of workers.
    env: Any = model.get_env()
    learner: Any = model
    collects = env is not None and isinstance(env.unwrapped, WorkerVecEnv) and hasattr(model, "make_actor")
    return collects and why_not_by_workers(learner, env, CallbackList([]), learner.rollout_buffer) is None


def _described_space(space: spaces.Space) -> str:
    text = repr(space)
    # The default repr, of a user's own space or of one inside a Dict, holds an address, which differs in every process.
    return f"<{type(space).__name__}>" if " at 0x" in text else text


def _differing(before: dict[str, Any], now: dict[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value then and value now of each difference; within dictionaries, of each entry that differs."""
    # Single values first: they say more than the particulars that follow from them.
    for key in sorted(before.keys() | now.keys(), key=lambda key: (isinstance(before.get(key), dict), key)):
        then, here, name = before.get(key), now.get(key), f"{within}[{key}]" if within else key
        if isinstance(then, dict) and isinstance(here, dict):
            yield from _differing(then, here, name)
        elif then != here:
            yield name, then, here
