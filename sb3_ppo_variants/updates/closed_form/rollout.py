"""A rollout as flat numpy arrays, ready for closed-form updates."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.updates.closed_form.actor_critic import ClosedFormActorCritic


@dataclass
class FlatRollout:
    """
    N rows, in the order of SB3's flattened buffer.

    :param features: what the networks are given, shape (N, n_features)
    :param actions: as the head takes them
    :param old_values: V at collection time, shape (N,)
    :param old_log_prob: log π_old, shape (N,)
    :param advantages: shape (N,)
    :param returns: targets of the critic, shape (N,)
    """

    features: np.ndarray
    actions: np.ndarray
    old_values: np.ndarray
    old_log_prob: np.ndarray
    advantages: np.ndarray
    returns: np.ndarray

    def __len__(self) -> int:
        return len(self.advantages)

    def take(self, rows: np.ndarray) -> "FlatRollout":
        """
        :param rows: row numbers
        :return: a copy of these rows
        """
        return FlatRollout(*(array.take(rows, 0) for array in vars(self).values()))

    def split(self, size: int) -> Iterator["FlatRollout"]:
        """
        :param size: rows of a part; the last may be shorter
        :return: the parts one after the other, views
        """
        n_whole = len(self) // size
        # Walking through an array with one axis more costs a fraction of slicing it again and again.
        wholes = (array[: n_whole * size].reshape(n_whole, size, *array.shape[1:]) for array in vars(self).values())
        yield from map(FlatRollout, *wholes)
        if n_whole * size < len(self):
            yield FlatRollout(*(array[n_whole * size :] for array in vars(self).values()))


def flat_rollout(buffer: RolloutBuffer, network: ClosedFormActorCritic) -> FlatRollout:
    """
    :param buffer: A full buffer of SB3's own type
    :param network: Converts observations and actions
    :return: its rows
    """
    # get() flattens in place, once; whoever has called it before, the rows are the same.
    flatten = (lambda array: array) if buffer.generator_ready else buffer.swap_and_flatten
    dtype = network.dtype
    return FlatRollout(
        np.ascontiguousarray(network.features(flatten(buffer.observations))),
        network.actions(flatten(buffer.actions)),
        *(
            flatten(array).ravel().astype(dtype, copy=False)
            for array in (buffer.values, buffer.log_probs, buffer.advantages, buffer.returns)
        ),
    )
