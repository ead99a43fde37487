"""What checkpoints leave out without an error, to be named in a warning."""

import hashlib
import io
from collections import deque
from contextlib import suppress
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.algorithms.arguments import parameters_of_constructor
from sb3_ppo_variants.resume.layers import has_protocol, links_of
from sb3_ppo_variants.resume.pickles import can_be_kept, dumps

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "sb3_ppo_variants", "torch")
#: What holds state, as collections do. Of other things that cannot be pickled (writers, progress bars, locks,
#: functions) the script makes new ones.
_NETWORKS = (th.nn.Module, th.optim.Optimizer)
#: Objects that attributes only lead to, and files that the script opens anew.
_NO_STATE = (gym.Env, VecEnv, BaseAlgorithm, BaseCallback, Logger, KVWriter, io.IOBase)
_OF_TORCH = frozenset(vars(th.nn.Module()))


def lost_attributes(thing: Any, model: Any) -> list[str]:
    """
    :param thing: A callback, a ``VecEnvWrapper``, or the model
    :param model: The model that is trained
    :return: its attributes that hold state and cannot be pickled; none of a library's own classes
    """
    if has_protocol(thing) or _is_a_librarys(thing):
        return []
    # Of a model, what its constructor was given is made by the script, and tables may hold its schedules.
    beside = parameters_of_constructor(type(thing)) if thing is model else links_of(thing)
    kinds = _NETWORKS if thing is model else (*_NETWORKS, dict, list, set, deque)
    of_model = (model.policy.optimizer, *model.policy.modules())
    return [
        name
        for name, value in vars(thing).items()
        if name not in beside
        and isinstance(value, kinds)
        and not any(value is one for one in of_model)
        and not _only_leads_elsewhere(value)
        and not can_be_kept(value)
    ]


def _only_leads_elsewhere(value: Any) -> bool:
    if not isinstance(value, dict | list | set | deque):
        return False
    held = list(value.values() if isinstance(value, dict) else value)
    return bool(held) and all(
        isinstance(one, _NO_STATE) or (callable(one) and not isinstance(one, _NETWORKS)) for one in held
    )


def policy_attributes(policy: th.nn.Module) -> dict[str, bytes]:
    """
    :param policy: The policy, in which classes of a user's own may remember something in plain attributes
    :return: a digest of each attribute that ``state_dict()`` leaves out, of the modules that are the user's own
    """
    return {
        f"{path}.{name}".removeprefix("."): _digest(value)
        for path, module in policy.named_modules()
        if not _is_a_librarys(module)
        for name, value in vars(module).items()
        if name not in _OF_TORCH and not isinstance(value, gym.Space | Distribution) and can_be_kept(value)
    }


def _digest(value: Any) -> bytes:
    if isinstance(value, th.Tensor):  # its pickle has an address in it
        with suppress(TypeError, RuntimeError):  # of a dtype or a layout that numpy does not have
            value = str(value.dtype), value.detach().cpu().numpy()
    return hashlib.sha256(dumps(value)).digest()


def changed_parts(before: dict[str, bytes], now: dict[str, bytes]) -> list[str]:
    """
    :param before: ``policy_attributes`` at the start of the training
    :param now: The same now
    :return: the names of those that have changed; one that there was not may be a cache
    """
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def _is_a_librarys(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] in _LIBRARIES
