"""Policies on their way to another process."""

import copy
import io
from typing import Any

import cloudpickle
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy


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


class Fingerprint:
    """
    Of which parts a policy consists: unequal once a part, a parameter, a hook or an attribute is added, removed or
    replaced.

    :param policy: The policy
    :param others: Other things that must not be replaced
    """

    def __init__(self, policy: ActorCriticPolicy, *others: Any):
        self._parts: list[Any] = [policy, *others]
        self._sizes: list[int] = []
        for part in policy.modules():
            for holder in (part._modules, part._parameters, part._buffers):
                self._parts += holder.values()
            self._sizes += [len(vars(part)), len(part._forward_hooks), len(part._forward_pre_hooks)]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Fingerprint)
            and self._sizes == other._sizes
            and len(self._parts) == len(other._parts)
            and all(part is another for part, another in zip(self._parts, other._parts, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]
