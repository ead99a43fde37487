"""
How rows follow one another, for policies with memory.

A recurrent network is given whole sequences, padded to the longest. No other code sees padding: rows are padded on the
way into the network and its outputs cut back on the way out, so that losses, means and statistics only ever see real
rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from sb3_ppo_variants.rollouts.buffers import states_at


@dataclass
class Sequences:
    """
    B rows in S sequences.

    :param states: before the first row of each, hidden and cell states of actor and critic, shape (layers, S, units)
    :param episode_starts: 1 where the network has to forget its states before a row, shape (B,)
    :param positions: where each row goes among S × longest padded ones, sequence after sequence, shape (B,)
    :param longest: rows of the longest sequence
    """

    states: RNNStates
    episode_starts: th.Tensor
    positions: th.Tensor
    longest: int

    @property
    def n_padded(self) -> int:
        """S × longest."""
        return int(self.states.pi[0].shape[1]) * self.longest

    def pad(self, rows: Any, value: float = 0) -> Any:
        """
        :param rows: shape (B, …), or a dictionary of such tensors
        :param value: what padding consists of
        :return: shape (S·longest, …)
        """
        if isinstance(rows, dict):
            return {key: self.pad(part, value) for key, part in rows.items()}
        if self.n_padded == len(rows):
            return rows
        padded = rows.new_full((self.n_padded, *rows.shape[1:]), value)
        padded[self.positions] = rows
        return padded

    def unpad(self, padded: th.Tensor) -> th.Tensor:
        """
        :param padded: shape (S·longest, …)
        :return: shape (B, …)
        """
        return padded if len(padded) == len(self.positions) else padded[self.positions]

    def every(self, n: int) -> tuple[th.Tensor, "Sequences"]:
        """
        :param n: Take the first of n sequences, the one n later, …
        :return: the numbers of their rows among the B, and these sequences
        """
        sequence, offset = self.positions // self.longest, self.positions % self.longest
        taken = (sequence % n == 0).nonzero().flatten()
        states = RNNStates(*(tuple(part[:, ::n].contiguous() for part in of) for of in self.states))
        positions = (sequence[taken] // n) * self.longest + offset[taken]
        return taken, Sequences(states, self.episode_starts[taken], positions, self.longest)


def beginnings(buffer: Any, numbers: np.ndarray, length: int | None) -> np.ndarray:
    """
    :param buffer: A flattened buffer that keeps states
    :param numbers: row numbers, shape (B,); what follows in time stands next to each other
    :param length: rows of a sequence, at most; ``None``: unlimited
    :return: which of the rows begin a sequence: at a new episode, at a new environment, after a gap, and at
        ``length``; shape (B,)
    """
    begins = (buffer.episode_starts[numbers].ravel() != 0) | (numbers % buffer.buffer_size == 0)
    begins[0] = True
    begins[1:] |= np.diff(numbers) != 1
    if length is not None:
        begins |= _offsets(begins) % length == 0
    return begins


def _offsets(begins: np.ndarray) -> np.ndarray:
    """How many rows after the beginning of its sequence each row stands."""
    starts = np.flatnonzero(begins)
    offsets: np.ndarray = np.arange(len(begins)) - starts[np.cumsum(begins) - 1]
    return offsets


def sequences_of(buffer: Any, numbers: np.ndarray, length: int | None = None, fused: bool = True) -> Sequences:
    """
    :param buffer: A flattened buffer that keeps states
    :param numbers: row numbers, shape (B,); what follows in time stands next to each other
    :param length: rows of a sequence, at most; ``None``: unlimited
    :param fused: Whether sequences that begin an episode start from zeros. Otherwise they start from the state of the
        episode before, with a flag that tells the policy to forget it, as sb3-contrib has it: the policy then goes
        through all sequences in a Python loop. The numbers are the same up to rounding, but take several times as long
    :return: their sequences
    """
    begins = beginnings(buffer, numbers, length)
    starts = np.flatnonzero(begins)
    episode_starts = buffer.episode_starts[numbers].ravel()
    longest = int(np.diff([*starts, len(numbers)]).max())
    states = states_at(buffer, numbers[starts])
    if fused:
        going_on = buffer.to_torch((episode_starts[starts] == 0).astype(np.float32))[None, :, None]
        states = [state * going_on for state in states]
        episode_starts = np.zeros_like(episode_starts)
    positions = (np.cumsum(begins) - 1) * longest + _offsets(begins)
    return Sequences(
        RNNStates((states[0], states[1]), (states[2], states[3])),
        buffer.to_torch(episode_starts),
        buffer.to_torch(positions),
        longest,
    )
