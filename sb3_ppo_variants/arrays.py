"""Helpers with which one formula works on numpy arrays and torch tensors alike."""

from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch as th

#: A ``numpy.ndarray`` or a ``torch.Tensor``; one call uses one kind throughout.
Array: TypeAlias = Any


def namespace_of(array: Array) -> ModuleType:
    """
    The module whose ``exp``, ``minimum``, ``clip``, ``where``, … take ``array``.

    :param array: A numpy array or a torch tensor
    :return: ``torch`` for a tensor, otherwise ``numpy``
    """
    return th if isinstance(array, th.Tensor) else np


def constants(value: float, shape: tuple[int, ...], like: Array) -> Array:
    """
    :param value: The entry
    :param shape: The shape
    :param like: An array of the kind, data type and device wanted
    :return: an array of this shape, all of whose entries are ``value``
    """
    if isinstance(like, th.Tensor):
        return like.new_full(shape, value)
    # np.full and np.ones_like have Python wrappers that take longer than filling a short array.
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
    # A product with ones is several times as fast as numpy's reduction over a short last axis.
    return array @ _ones(array.shape[-1], array.dtype) if isinstance(array, np.ndarray) else array.sum(-1)


def row_maxima(array: Array) -> Array:
    """
    :param array: shape (B, n)
    :return: max over the last axis, shape (B,)
    """
    return np.maximum.reduce(array, -1) if isinstance(array, np.ndarray) else array.amax(-1)


def require_equal_shapes(**arrays: Array) -> None:
    """
    Reject arrays that would broadcast silently: (B,) with (B, 1) gives (B, B) and a wrong mean.

    :param arrays: The arrays by the caller's names for them
    :raises ValueError: if two shapes differ
    """
    first, *others = arrays.values()
    if any(other.shape != first.shape for other in others):
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Got {listed}: they must have equal shapes, one entry per sample; flatten them first.")
