"""What a row of a rollout carries, declared once for both backends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_ppo_variants.arrays import Array


@dataclass
class Rows:
    """
    B rows of a rollout: tensors in autograd, numpy arrays in closed form.

    :param observations: what the policy is given, shape (B, …), or a dictionary of such arrays
    :param actions: the actions taken, shape (B, A) or (B,)
    :param old_values: V at collection time, shape (B,)
    :param old_log_prob: log π_old, shape (B,)
    :param advantages: shape (B,)
    :param returns: targets of the critic, shape (B,)
    :param old_parameters: parameters of the old policy's distributions, one array of B rows each; empty where no KL
        needs them, and where the distribution has no closed form
    """

    observations: Any
    actions: Array
    old_values: Array
    old_log_prob: Array
    advantages: Array
    returns: Array
    old_parameters: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.advantages)

    def select(self, which: Any) -> "Rows":
        """
        :param which: row numbers, or a slice
        :return: these rows: a copy for numbers, a view for a slice
        """
        return Rows(*(_select(field, which) for field in vars(self).values()))

    def split(self, size: int) -> Iterator["Rows"]:
        """
        :param size: rows of a part; the last may be shorter
        :return: the parts in order, views; for arrays, not dictionaries
        """
        n_whole = len(self) // size

        def stacked(array: Array) -> Array:
            # Iterating over an array with one more axis costs a fraction of slicing it again and again.
            return array[: n_whole * size].reshape(n_whole, size, *array.shape[1:])

        *arrays, old_parameters = vars(self).values()
        old = zip(*map(stacked, old_parameters), strict=True) if old_parameters else [()] * n_whole
        yield from map(Rows, *map(stacked, arrays), old)
        if n_whole * size < len(self):
            yield self.select(slice(n_whole * size, None))


def _select(field: Any, which: Any) -> Any:
    if isinstance(field, dict):
        return {key: array[which] for key, array in field.items()}
    if isinstance(field, tuple):
        return tuple(_select(array, which) for array in field)
    if isinstance(field, np.ndarray) and isinstance(which, np.ndarray):
        return field.take(which, 0)  # half the time of indexing
    return field[which]
