"""Policies on their way to another process."""

import copy
import io
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

#: Compared by value.
_PLAIN = (bool, int, float, str, bytes)
#: Attributes of every torch module.
_OF_TORCH = frozenset(vars(th.nn.Module()))
#: What changes with every action or update, is listed elsewhere, or is no state of the policy's.
_NOT_LOOKED_INTO = (
    *(Distribution, th.distributions.Distribution, th.nn.Module, th.optim.Optimizer, type, ModuleType),
    *(spaces.Space, gym.Env, VecEnv, BaseAlgorithm),
)


def pack(thing: Any) -> bytes:
    """
    :param thing: What torch or cloudpickle can save; tensors that share memory are saved once
    :return: for ``unpack``
    """
    file = io.BytesIO()
    th.save(thing, file, pickle_module=cloudpickle)
    return file.getvalue()


def unpack(packed: bytes) -> Any:
    """
    :param packed: What ``pack`` returned, in this or another process of this machine
    :return: a copy
    """
    return th.load(io.BytesIO(packed), weights_only=False, map_location="cpu")


def without_optimizer(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """
    :param policy: A policy
    :return: one with the same parts, which does not know its optimiser (with the moments, twice as large)
    """
    bare = copy.copy(policy)
    vars(bare).pop("optimizer", None)
    return bare


def tensors_of(policy: ActorCriticPolicy) -> dict[str, th.Tensor]:
    """
    :param policy: A policy
    :return: its parameters and buffers by name, with the buffers that ``state_dict()`` leaves out
    """
    return {name: tensor.detach() for name, tensor in (*policy.named_parameters(), *policy.named_buffers())}


class Fingerprint:
    """
    What a policy consists of, apart from the numbers in its parameters and buffers: unequal once a part, a parameter, a
    hook or an attribute is added, removed or replaced, or an attribute's array, tensor, list, dictionary or object is
    edited (of an object, what its ``__dict__`` holds).

    :param policy: The policy
    :param others: Other things that must not be replaced
    """

    def __init__(self, policy: ActorCriticPolicy, *others: Any):
        self._parts: list[Any] = [policy, *others]
        for part in policy.modules():
            # The numbers in buffers are sent for each rollout.
            self._parts += part._buffers.values()
            for name, value in vars(part).items():
                if name != "_buffers":
                    # A hook may record something at each step; what it is counts, and not what it holds.
                    self._parts += [name, *_contents(value, None if name in _OF_TORCH else set())]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Fingerprint)
            and len(self._parts) == len(other._parts)
            and all(_is_same(*pair) for pair in zip(self._parts, other._parts, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


class _Copy(NamedTuple):
    tensor: th.Tensor


def _contents(value: Any, seen: set[int] | None) -> Iterator[Any]:
    """
    What an attribute holds; copies of what can be edited in place.

    :param seen: Which objects have been looked into; ``None``: none is
    """
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from _contents(held, seen)
    elif isinstance(value, list | tuple | set):
        yield len(value)
        for held in value:
            yield from _contents(held, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}"
        yield value.tobytes()
    elif isinstance(value, th.Tensor) and not isinstance(value, th.nn.Parameter):
        yield _Copy(value.detach().clone())
    else:
        yield value
        looks_into = seen is not None and id(value) not in seen and not isinstance(value, _NOT_LOOKED_INTO)
        if looks_into and hasattr(value, "__dict__"):
            seen.add(id(value))  # type: ignore[union-attr]
            yield from _contents(vars(value), seen)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, _Copy) and isinstance(other, _Copy):
        return one.tensor.dtype == other.tensor.dtype and th.equal(one.tensor, other.tensor)
    return one is other or (type(one) is type(other) and isinstance(one, _PLAIN) and one == other)
