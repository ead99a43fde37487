"""A rollout as flat numpy arrays, and its rows made ready for the networks some at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic


@dataclass
class Rows:
    """
    B rows, ready for the networks.

    :param features: what the networks are given, shape (B, n_features)
    :param actions: as the head takes them
    :param old_values: V at collection time, shape (B,)
    :param old_log_prob: log π_old, shape (B,)
    :param advantages: shape (B,)
    :param returns: targets of the critic, shape (B,)
    """

    features: np.ndarray
    actions: np.ndarray
    old_values: np.ndarray
    old_log_prob: np.ndarray
    advantages: np.ndarray
    returns: np.ndarray

    def __len__(self) -> int:
        return len(self.advantages)

    def split(self, size: int) -> Iterator["Rows"]:
        """
        :param size: rows of a part; the last may be shorter
        :return: the parts one after the other, views
        """
        n_whole = len(self) // size
        # Walking through an array with one axis more costs a fraction of slicing it again and again.
        wholes = (array[: n_whole * size].reshape(n_whole, size, *array.shape[1:]) for array in vars(self).values())
        yield from map(Rows, *wholes)
        if n_whole * size < len(self):
            yield Rows(*(array[n_whole * size :] for array in vars(self).values()))


@dataclass
class FlatRollout:
    """
    N rows, in the order of SB3's flattened buffer and mostly in its memory.

    Observations stay as the buffer has them and become features where rows are taken: a one-hot vector, or an image in
    floats, takes many times the room of what it is made from.

    :param network: Converts observations to features
    :param observations: shape (N, …)
    :param actions: as the head takes them
    :param old_values: V at collection time, shape (N,)
    :param old_log_prob: log π_old, shape (N,)
    :param advantages: shape (N,)
    :param returns: targets of the critic, shape (N,)
    """

    network: ClosedFormActorCritic
    observations: np.ndarray
    actions: np.ndarray
    old_values: np.ndarray
    old_log_prob: np.ndarray
    advantages: np.ndarray
    returns: np.ndarray

    def __len__(self) -> int:
        return len(self.advantages)

    def take(self, rows: np.ndarray) -> Rows:
        """
        :param rows: row numbers
        :return: a copy of these rows
        """
        return Rows(
            self.network.features(self.observations.take(rows, 0)),
            self.actions.take(rows, 0),
            self.old_values.take(rows, 0),
            self.old_log_prob.take(rows, 0),
            self.advantages.take(rows, 0),
            self.returns.take(rows, 0),
        )

    def shuffled(self, order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
        """
        One epoch's row numbers in runs of whole minibatches: as many as are copied at once, which saves the overhead
        of copying each minibatch by itself and does not take the room of another rollout.

        :param order: row numbers
        :param batch_size: rows of a minibatch
        :return: the runs one after the other; only the last may end with a shorter minibatch
        """
        size = max(self.network.chunk_rows // batch_size, 1) * batch_size
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def features_in_order(self) -> Iterator[tuple[slice, np.ndarray]]:
        """
        :return: which rows, and their features, first to last, in chunks that bound the memory of a forward pass
        """
        for start in range(0, len(self), self.network.chunk_rows):
            rows = slice(start, start + self.network.chunk_rows)
            yield rows, self.network.features(self.observations[rows])


#: What SB3's ``RolloutBuffer.get`` flattens.
_FLATTENED = ("observations", "actions", "values", "log_probs", "advantages", "returns")


def flat_rollout(buffer: RolloutBuffer, network: ClosedFormActorCritic) -> FlatRollout:
    """
    :param buffer: A full buffer of SB3's own type; flattened in place, as its ``get`` does once a rollout: callbacks
        see SB3's shapes after an update, and nothing is there twice
    :param network: Converts observations and actions
    :return: its rows
    """
    if not buffer.generator_ready:
        for name in _FLATTENED:
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True
    return FlatRollout(
        network,
        buffer.observations,
        network.actions(buffer.actions),
        *(
            array.ravel().astype(network.dtype, copy=False)
            for array in (buffer.values, buffer.log_probs, buffer.advantages, buffer.returns)
        ),
    )
