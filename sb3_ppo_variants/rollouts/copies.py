"""Cheaper copies of what SB3's DummyVecEnv copies at every step."""

from collections import OrderedDict
from copy import deepcopy
from sys import getrefcount
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

#: Objects of exactly these types cannot change, so a copy may share them.
_UNCHANGEABLE = frozenset(
    {type(None), bool, int, float, complex, str, bytes, np.bool_, np.float32, np.float64, np.int32, np.int64}
)


class _Infos(list):
    """Info dictionaries; their deep copy is what ``deepcopy`` gives for a list of them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [_copy_of_info(info, memo) for info in self]


def _copy_of_info(info: Any, memo: dict[int, Any]) -> Any:
    flat = type(info) is dict and all(type(value) in _UNCHANGEABLE for value in info.values())
    # An info that two environments share stays one object.
    return memo.setdefault(id(info), info.copy()) if flat else deepcopy(info, memo)


class _Observations(OrderedDict):
    """Arrays by key; their deep copy is what ``deepcopy`` gives for an ``OrderedDict`` of them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> OrderedDict:
        return OrderedDict((key, array.copy()) for key, array in self.items())


def speed_up_copies(env: VecEnv) -> None:
    """
    Let the environment's deep copies take one microsecond instead of ten.

    ``DummyVecEnv.step_wait`` returns ``deepcopy`` of its buffers. Walking a dictionary of numbers with ``deepcopy``
    takes as long as a policy's forward pass; the containers here know how to copy themselves. What the environment
    returns is the same, and shares no more with its buffers than before.

    :param env: Any vectorised environment; only SB3's own ``DummyVecEnv``, wrapped or not, is changed
    """
    inner = env.unwrapped
    if type(inner) is not DummyVecEnv:
        return
    # Not where somebody else holds the buffer too (getrefcount's own argument is the second reference): they would be
    # left with one that is no longer written to.
    if type(inner.buf_infos) is list and getrefcount(inner.buf_infos) <= 2:
        inner.buf_infos = _Infos(inner.buf_infos)
    holds_numbers = type(inner.buf_obs) is OrderedDict and all(map(_holds_numbers, inner.buf_obs.values()))
    if holds_numbers and getrefcount(inner.buf_obs) <= 2:
        inner.buf_obs = _Observations(inner.buf_obs)


def _holds_numbers(array: Any) -> bool:
    return type(array) is np.ndarray and not array.dtype.hasobject
