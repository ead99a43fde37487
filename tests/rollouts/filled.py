"""A recurrent rollout buffer whose numbers tell where they came from."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from sb3_ppo_variants.rollouts.minibatches import flatten

N_LAYERS, N_UNITS = 2, 3


def filled(starts: np.ndarray, buffer_class: type = RecurrentRolloutBuffer, flat: bool = True, **kwargs: Any) -> Any:
    """
    :param starts: Which steps begin an episode, shape (T, E)
    :return: a full buffer; observation, action and every state of row i of the flattened rollout are i
    """
    n_steps, n_envs = starts.shape
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    shape = (n_steps, N_LAYERS, n_envs, N_UNITS)
    buffer: Any = buffer_class(n_steps, space, space, shape, device="cpu", n_envs=n_envs, **kwargs)
    for step in range(n_steps):
        numbers = (np.arange(n_envs) * n_steps + step).astype(np.float32)
        tensor = th.from_numpy(numbers)
        state = tensor[None, :, None].expand(shape[1:])
        states = RNNStates((state, state + 0.25), (state + 0.5, state + 0.75))
        column = numbers[:, None]
        buffer.add(column, column, numbers, starts[step].astype(np.float32), tensor, tensor, lstm_states=states)
    buffer.compute_returns_and_advantage(th.zeros(n_envs), np.zeros(n_envs, bool))
    if flat:
        flatten(buffer)
    return buffer


def slow_sequences(starts: np.ndarray, numbers: list[int], length: int | None) -> list[list[int]]:
    """The obvious loop: rows are put into the sequence of the one before unless something begins anew."""
    n_steps = len(starts)
    sequences: list[list[int]] = []
    for number in numbers:
        env, step = divmod(number, n_steps)
        last = sequences[-1] if sequences else None
        follows = last is not None and last[-1] == number - 1 and step > 0 and not starts[step, env]
        if follows and last is not None and (length is None or len(last) < length):
            last.append(number)
        else:
            sequences.append([number])
    return sequences
