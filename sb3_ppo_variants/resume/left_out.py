"""What checkpoints leave out without an error, to be named in a warning."""

import hashlib
import io
from types import FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_variants.resume.layers import has_protocol, links_of
from sb3_ppo_variants.resume.pickles import can_be_kept, dumps

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "sb3_ppo_variants", "torch")
#: Objects that attributes only lead to, code, and files that the script opens anew.
_NO_STATE = (
    *(gym.Env, VecEnv, BaseAlgorithm, BaseCallback, Logger, KVWriter),
    *(FunctionType, MethodType, ModuleType, io.IOBase),
)
_OF_TORCH = frozenset(vars(th.nn.Module()))


def lost_attributes(thing: Any) -> list[str]:
    """
    :param thing: A callback or a ``VecEnvWrapper``
    :return: its attributes that may hold state and cannot be pickled; none of a library's own classes
    """
    if has_protocol(thing) or _is_a_librarys(thing):
        return []
    present = {name: value for name, value in vars(thing).items() if name not in links_of(thing)}
    return [name for name, value in present.items() if not isinstance(value, _NO_STATE) and not can_be_kept(value)]


def policy_attributes(policy: th.nn.Module) -> dict[str, bytes]:
    """
    :param policy: The policy, in which a user's own features extractor may remember something in plain attributes
    :return: a digest of each attribute that ``state_dict()`` leaves out, of the modules in it that are the user's own
    """
    modules = {path: module for path, module in policy.named_modules() if path and not _is_a_librarys(module)}
    return {
        f"{path}.{name}": hashlib.sha256(dumps(value)).digest()
        for path, module in modules.items()
        for name, value in vars(module).items()
        if name not in _OF_TORCH and not isinstance(value, gym.Space) and can_be_kept(value)
    }


def changed_attributes(before: dict[str, bytes], now: dict[str, bytes]) -> list[str]:
    """
    :param before: ``policy_attributes`` at the start of the training
    :param now: The same now
    :return: the names of those that have changed
    """
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def _is_a_librarys(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] in _LIBRARIES
