"""A rollout as flat numpy arrays, ready for closed-form updates."""

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

    def __getitem__(self, rows: slice | np.ndarray) -> "FlatRollout":
        """
        :param rows: a slice (views) or row numbers (one copy)
        :return: these rows
        """
        return FlatRollout(*(array[rows] for array in vars(self).values()))


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
