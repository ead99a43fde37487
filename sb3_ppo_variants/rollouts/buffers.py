"""Rollout buffers with memory and action masks: sb3-contrib's two kinds in one."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer


class MaskableRecurrentRolloutBuffer(MaskableRolloutBuffer, RecurrentRolloutBuffer):  # type: ignore[misc]  # their minibatches differ
    """Keeps each step's masks and the states before it. Its arguments are those of sb3-contrib's recurrent buffer."""

    # The maskable buffer's constructor has no place for the states' shape.
    __init__ = RecurrentRolloutBuffer.__init__

    def get(self, batch_size: int | None = None) -> Any:
        """sb3-contrib's two ways to draw do not go together: ``rollouts.minibatches`` draws from this buffer."""
        raise NotImplementedError(f"{type(self).__name__}.get(): use rollouts.minibatches(buffer, batch_size).")


class MaskableRecurrentDictRolloutBuffer(MaskableDictRolloutBuffer, RecurrentDictRolloutBuffer):  # type: ignore[misc]
    """As ``MaskableRecurrentRolloutBuffer``, for Dict observations."""

    __init__ = RecurrentDictRolloutBuffer.__init__

    def get(self, batch_size: int | None = None) -> Any:
        """See ``MaskableRecurrentRolloutBuffer.get``."""
        raise NotImplementedError(f"{type(self).__name__}.get(): use rollouts.minibatches(buffer, batch_size).")


def buffer_class_for(observation_space: spaces.Space, is_recurrent: bool, takes_masks: bool) -> type | None:
    """
    :param observation_space: Of the environments
    :param is_recurrent: Whether the policy has memory
    :param takes_masks: Whether it takes action masks
    :return: the buffer that keeps what such a policy needs; ``None``: SB3's own
    """
    kinds: dict[tuple[bool, bool], tuple[type, type]] = {
        (False, True): (MaskableRolloutBuffer, MaskableDictRolloutBuffer),
        (True, False): (RecurrentRolloutBuffer, RecurrentDictRolloutBuffer),
        (True, True): (MaskableRecurrentRolloutBuffer, MaskableRecurrentDictRolloutBuffer),
    }
    if (is_recurrent, takes_masks) not in kinds:
        return None
    return kinds[is_recurrent, takes_masks][isinstance(observation_space, spaces.Dict)]


def keeps_states(buffer: RolloutBuffer) -> bool:
    """
    :param buffer: Any rollout buffer
    :return: whether it keeps the states of a recurrent policy
    """
    return isinstance(buffer, RecurrentRolloutBuffer | RecurrentDictRolloutBuffer)


def keeps_masks(buffer: RolloutBuffer) -> bool:
    """
    :param buffer: Any rollout buffer
    :return: whether it keeps action masks
    """
    return isinstance(buffer, MaskableRolloutBuffer | MaskableDictRolloutBuffer)


#: SB3's buffers, sb3-contrib's and ours. Their rows are drawn here, as their own ``get`` draws them.
KNOWN_BUFFERS: tuple[type, ...] = (
    *(RolloutBuffer, DictRolloutBuffer),
    *(MaskableRolloutBuffer, MaskableDictRolloutBuffer, RecurrentRolloutBuffer, RecurrentDictRolloutBuffer),
    *(MaskableRecurrentRolloutBuffer, MaskableRecurrentDictRolloutBuffer),
)

#: The arrays of states before each row, of a buffer that keeps them: actor's and critic's hidden and cell states.
STATES = ("hidden_states_pi", "cell_states_pi", "hidden_states_vf", "cell_states_vf")


def states_at(buffer: Any, numbers: np.ndarray) -> list[th.Tensor]:
    """
    :param buffer: A flattened buffer that keeps states
    :param numbers: Row numbers, shape (S,)
    :return: the arrays of ``STATES`` before these rows, each of shape (layers, S, units)
    """
    return [buffer.to_torch(getattr(buffer, name)[numbers].swapaxes(0, 1)).contiguous() for name in STATES]
