"""What the pure functions of this package need so that one formula serves numpy and torch alike."""

from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch as th

#: A ``numpy.ndarray`` or a ``torch.Tensor``; one call uses one kind throughout.
Array: TypeAlias = Any


def namespace_of(array: Array) -> ModuleType:
    """
    The module whose ``exp``, ``minimum``, ``clip``, ``where``, … work on ``array``.

    :param array: An array of either kind
    :return: ``torch`` for a tensor, else ``numpy``
    """
    return th if isinstance(array, th.Tensor) else np


def constants(value: float, shape: tuple[int, ...], like: Array) -> Array:
    """
    :param value: The entry
    :param shape: The shape
    :param like: An array of the kind, type and device wanted
    :return: an array with equal entries
    """
    if isinstance(like, th.Tensor):
        return like.new_full(shape, value)
    # Not np.full or np.ones_like: on short arrays their Python wrappers take longer than the work.
    array = np.empty(shape, like.dtype)
    array.fill(value)
    return array


@cache
def _ones(n: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(n, dtype)


def row_sums(array: Array) -> Array:
    """
    :param array: shape (B, n)
    :return: Σ over the last axis, shape (B,)
    """
    # A product with ones: numpy's own reduction over a short last axis takes several times as long.
    return array @ _ones(array.shape[-1], array.dtype) if isinstance(array, np.ndarray) else array.sum(-1)


def row_maxima(array: Array) -> Array:
    """
    :param array: shape (B, n)
    :return: max over the last axis, shape (B,)
    """
    return np.maximum.reduce(array, -1) if isinstance(array, np.ndarray) else array.amax(-1)


def require_equal_shapes(**arrays: Array) -> None:
    """
    Reject arrays that would silently broadcast: (B,) with (B, 1) gives (B, B) and a wrong mean.

    :param arrays: The arrays by the name that the caller knows them by
    :raises ValueError: if two shapes differ
    """
    first, *others = arrays.values()
    if any(other.shape != first.shape for other in others):
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Got {listed}: they must have equal shapes, one entry per sample; flatten them first.")
