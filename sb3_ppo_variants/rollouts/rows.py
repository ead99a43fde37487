"""
What a row of a rollout carries, named once for both backends.

A new field is declared here, filled where rows are made (``minibatches._as_rows``, ``flat_rollout`` of the closed form)
and collected where steps are stored (``Actor.store``). ``backends.autograd.evaluation`` gives the policy what it takes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np

from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.rollouts.sequences import Sequences


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
    :param action_masks: whether each action is allowed, shape (B, ΣD); ``None`` for a policy without masks
    :param sequences: how the rows follow one another; ``None`` for a policy without memory
    :param old_parameters: parameters of the old policy's distributions, one array of B rows each; empty where no KL
        needs them, and where the distribution has no closed form
    :param reference_parameters: the same of the reference policy's distributions; empty where it is not kept near
    """

    observations: Any
    actions: Array
    old_values: Array
    old_log_prob: Array
    advantages: Array
    returns: Array
    action_masks: Array | None = None
    sequences: Sequences | None = None
    old_parameters: tuple[Array, ...] = ()
    reference_parameters: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.advantages)

    def select(self, which: Any) -> "Rows":
        """
        :param which: row numbers, or a slice; with memory, row numbers that skip no earlier row of a sequence
        :return: these rows: a copy for numbers, a view for a slice
        """
        return Rows(*(_select(field, which) for field in vars(self).values()))

    def every(self, n: int) -> tuple[Any, "Rows"]:
        """
        :param n: Take every n-th row; with memory, every n-th sequence
        :return: which rows these are, and the rows
        """
        if self.sequences is None:
            which = slice(None, None, n)
            return which, self.select(which)
        taken, sequences = self.sequences.every(n)
        return taken, replace(replace(self, sequences=None).select(taken), sequences=sequences)

    def split(self, size: int) -> Iterator["Rows"]:
        """
        :param size: rows of a part; the last may be shorter
        :return: the parts in order, views; for arrays, not dictionaries
        """
        n_whole = len(self) // size
        yield from map(Rows, *(_parts(field, n_whole, size) for field in vars(self).values()))
        if n_whole * size < len(self):
            yield self.select(slice(n_whole * size, None))


def _parts(field: Any, n_parts: int, size: int) -> Iterable[Any]:
    """The field of each part, in order."""
    if field is None:
        return repeat(None)
    if isinstance(field, tuple):
        return zip(*(_parts(array, n_parts, size) for array in field), strict=True) if field else repeat(())
    # Iterating over an array with one more axis costs a fraction of slicing it again and again.
    parts: Array = field[: n_parts * size].reshape(n_parts, size, *field.shape[1:])
    return parts


def _select(field: Any, which: Any) -> Any:
    if field is None:
        return None
    if isinstance(field, dict):
        return {key: array[which] for key, array in field.items()}
    if isinstance(field, tuple):
        return tuple(_select(array, which) for array in field)
    if isinstance(field, Sequences):
        return replace(field, episode_starts=field.episode_starts[which], positions=field.positions[which])
    if isinstance(field, np.ndarray) and isinstance(which, np.ndarray):
        return field.take(which, 0)  # half the time of indexing
    return field[which]
