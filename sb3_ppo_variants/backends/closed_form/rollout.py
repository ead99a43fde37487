"""A rollout as flat numpy arrays, and its rows made ready for the networks some at a time."""

from collections.abc import Iterator

import numpy as np
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic
from sb3_ppo_variants.distributions import Parameters, reference_kl
from sb3_ppo_variants.objectives import ReferenceKLDirection
from sb3_ppo_variants.rollouts import Rows
from sb3_ppo_variants.rollouts.minibatches import flatten


class FlatRollout:
    """
    N rows, in the order of SB3's flattened buffer and mostly in its memory.

    Observations stay as the buffer has them and become features where rows are taken: a one-hot vector, or an image in
    floats, takes many times the memory of its source.

    :param network: Converts observations to features
    :param rows: N rows; observations as the buffer has them, actions as the head takes them
    """

    def __init__(self, network: ClosedFormActorCritic, rows: Rows):
        self.network = network
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: np.ndarray) -> Rows:
        """
        :param numbers: row numbers
        :return: a copy of these rows; observations are features, shape (B, n_features)
        """
        taken = self.rows.select(numbers)
        taken.observations = self.network.features(taken.observations)
        return taken

    def stretches(self, order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
        """
        One epoch's row numbers in stretches of whole minibatches: as many as are copied at once, which saves the
        overhead of copying each minibatch on its own and does not take the memory of another rollout.

        :param order: row numbers
        :param batch_size: rows of a minibatch
        :return: the stretches in order; only the last may end with a shorter minibatch
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
            yield rows, self.network.features(self.rows.observations[rows])

    def parameters_in_order(self) -> Iterator[tuple[slice, Parameters]]:
        """
        :return: row slices and the policy's distributions there now, first to last; each is valid until the next
        """
        masks = self.rows.action_masks
        for rows, features in self.features_in_order():
            output = self.network.pi.forward(features)[-1]
            yield rows, self.network.head_parameters(output, None if masks is None else masks[rows])

    def mean_kl(self, reference: Parameters, direction: ReferenceKLDirection) -> float:
        """
        :param reference: Another policy's distributions, the old or the reference policy's, N rows each
        :param direction: Which KL
        :return: the mean KL between it and the policy now, in nats
        """
        total = 0.0
        for rows, new in self.parameters_in_order():
            row_kl = reference_kl(self.network.head, tuple(part[rows] for part in reference), new, direction)
            total += float(row_kl.sum(dtype=np.float64))
        return total / len(self)

    def as_arrays(self, reference_parameters: Parameters) -> Parameters:
        """
        :param reference_parameters: The reference policy's distributions, tensors of N rows each
        :return: the same as arrays of the network's type
        """
        return tuple(part.cpu().numpy().astype(self.network.dtype, copy=False) for part in reference_parameters)


def flat_masks(buffer: RolloutBuffer, steps: slice = slice(None)) -> np.ndarray | None:
    """
    :param buffer: A buffer of SB3's or sb3-contrib's own type
    :param steps: Which steps of it; in a flattened one, which rows
    :return: whether each action was allowed, one row each, shape (N, ΣD); ``None`` for a buffer without masks
    """
    if not isinstance(buffer, MaskableRolloutBuffer):
        return None
    return buffer.action_masks[steps].reshape(-1, buffer.mask_dims) != 0


def flat_rollout(buffer: RolloutBuffer, network: ClosedFormActorCritic) -> FlatRollout:
    """
    :param buffer: A full buffer of SB3's or sb3-contrib's own type; flattened in place, as its ``get`` does once per
        rollout: callbacks see SB3's shapes after an update, and nothing is stored twice
    :param network: Converts observations and actions
    :return: its rows
    """
    flatten(buffer)
    values, log_probs, advantages, returns = (
        array.ravel().astype(network.dtype, copy=False)
        for array in (buffer.values, buffer.log_probs, buffer.advantages, buffer.returns)
    )
    rows = Rows(
        observations=buffer.observations,
        actions=network.actions(buffer.actions),
        old_values=values,
        old_log_prob=log_probs,
        advantages=advantages,
        returns=returns,
        action_masks=flat_masks(buffer),
    )
    return FlatRollout(network, rows)
