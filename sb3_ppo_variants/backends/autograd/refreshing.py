"""The stored states of a rollout, recomputed by the policy as it now is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_variants.backends.parameter_groups import evaluation_mode
from sb3_ppo_variants.backends.settings import SequenceSettings
from sb3_ppo_variants.rollouts.minibatches import CHUNK_SIZE, draws_as_sb3
from sb3_ppo_variants.rollouts.sequences import beginnings


def refresh_states(policy: Any, buffer: RolloutBuffer, settings: SequenceSettings) -> None:
    """
    Refresh the states before an epoch other than the first, if the settings ask for it.

    Sequences of L rows start from the states that the rollout was collected with, which the policy no longer has after
    an epoch of steps. This replaces the states before each sequence with those that the policy has there now. The state
    before a rollout's first row comes from an earlier rollout and stays.

    :param policy: A recurrent policy
    :param buffer: A flattened buffer that keeps states
    :param settings: How the rollout is cut
    """
    if settings.length is None or not settings.refresh_states or not draws_as_sb3(buffer):
        return
    episodes = _Episodes(buffer, settings.length)
    with evaluation_mode(policy), th.no_grad():
        features = _features(policy, buffer)
        for rows, hidden, cell in episodes.states(policy.lstm_actor, features[0], "pi"):
            _put(buffer, "pi", rows, hidden, cell)
            if policy.lstm_critic is None:  # its states are the actor's
                _put(buffer, "vf", rows, hidden, cell)
        if policy.lstm_critic is not None:
            for rows, hidden, cell in episodes.states(policy.lstm_critic, features[1], "vf"):
                _put(buffer, "vf", rows, hidden, cell)


def _features(policy: Any, buffer: Any) -> list[th.Tensor]:
    """What actor's and critic's networks are given, for all rows."""
    parts = []
    for start in range(0, buffer.buffer_size * buffer.n_envs, CHUNK_SIZE):
        rows, observations = slice(start, start + CHUNK_SIZE), buffer.observations
        if isinstance(observations, dict):
            chunk: Any = {key: buffer.to_torch(array[rows]) for key, array in observations.items()}
        else:
            chunk = buffer.to_torch(observations[rows])
        features = policy.extract_features(chunk)
        parts.append(features if isinstance(features, tuple) else (features, features))
    return [th.cat(part) for part in zip(*parts, strict=True)]


def _put(buffer: Any, of: str, rows: np.ndarray, hidden: th.Tensor, cell: th.Tensor) -> None:
    getattr(buffer, f"hidden_states_{of}")[rows] = hidden.swapaxes(0, 1).cpu().numpy()
    getattr(buffer, f"cell_states_{of}")[rows] = cell.swapaxes(0, 1).cpu().numpy()


class _Episodes:
    """The rollout's episodes, longest first, so that those that go on for another sequence are always the first."""

    def __init__(self, buffer: Any, length: int):
        self.buffer, self.length = buffer, length
        numbers = np.arange(buffer.buffer_size * buffer.n_envs)
        starts = np.flatnonzero(beginnings(buffer, numbers, None))
        lengths = np.diff([*starts, len(numbers)])
        order = np.argsort(-lengths, kind="stable")
        self.starts, self.lengths = starts[order], lengths[order]

    def states(
        self, lstm: th.nn.LSTM, features: th.Tensor, of: str
    ) -> Iterator[tuple[np.ndarray, th.Tensor, th.Tensor]]:
        """Row numbers at which a sequence begins in the middle of an episode, and the states before them."""
        buffer = self.buffer
        going_on = buffer.to_torch((buffer.episode_starts[self.starts] == 0).astype(np.float32).reshape(1, -1, 1))
        hidden, cell = (
            buffer.to_torch(getattr(buffer, f"{kind}_states_{of}")[self.starts].swapaxes(0, 1)) * going_on
            for kind in ("hidden", "cell")
        )
        for begun in range(0, int(self.lengths[0]), self.length):
            n_longer = int((self.lengths > begun + self.length).sum())
            if n_longer == 0:
                return
            rows = self.starts[:n_longer] + begun
            inputs = features[buffer.to_torch(rows[None] + np.arange(self.length)[:, None])]
            before = hidden[:, :n_longer].contiguous(), cell[:, :n_longer].contiguous()
            _, (hidden, cell) = lstm(inputs, before)
            yield rows + self.length, hidden, cell
