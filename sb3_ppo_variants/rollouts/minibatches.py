"""Minibatches of a rollout, together with the rows that they were drawn from."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

Samples = RolloutBufferSamples | DictRolloutBufferSamples


class Minibatch(NamedTuple):
    """
    :param samples: What SB3's buffer yields, B rows
    :param rows: Which rows of the flattened rollout they are, shape (B,); ``None`` if the buffer does not let on
    """

    samples: Samples
    rows: np.ndarray | None


def minibatches(buffer: RolloutBuffer, batch_size: int | None) -> Iterator[Minibatch]:
    """
    One epoch: ``buffer.get(batch_size)``, with the drawn rows beside the samples.

    The buffer does the drawing (its own permutation, from the global numpy generator, so that the stream stays SB3's).
    What we keep per row (the old distribution's parameters, which episodes ended) has to be found again for a
    minibatch, so its row numbers are noted where every SB3 buffer passes them on, in ``_get_samples``. A buffer that
    draws in another way still works: its ``rows`` are ``None``.

    :param buffer: A full rollout buffer
    :param batch_size: B; ``None``: all rows in one
    :return: an iterator over the epoch's minibatches
    """
    drawn: list[Any] = []
    get_samples = buffer._get_samples
    had_own = "_get_samples" in vars(buffer)

    def noting_rows(batch_inds: np.ndarray, *args: Any, **kwargs: Any) -> Samples:
        drawn.append(batch_inds)
        return get_samples(batch_inds, *args, **kwargs)

    buffer._get_samples = noting_rows  # type: ignore[method-assign,assignment]
    try:
        for samples in buffer.get(batch_size):
            rows = drawn[0] if len(drawn) == 1 else None
            if not (isinstance(rows, np.ndarray) and rows.shape == (len(samples.advantages),)):
                rows = None
            yield Minibatch(samples, rows)
            # After the yield: while a minibatch is worked on, others may ask the buffer for rows too.
            drawn.clear()
    finally:
        # An epoch that was left open may be closed long after another has begun: only what is ours is taken away.
        if vars(buffer).get("_get_samples") is noting_rows:
            del buffer._get_samples
            if had_own:
                buffer._get_samples = get_samples  # type: ignore[method-assign]


def rows_in_order(buffer: RolloutBuffer, chunk_size: int) -> Iterator[Samples]:
    """
    All rows of a flattened rollout, first to last, in chunks that bound the memory of a forward pass.

    :param buffer: A buffer from which ``get`` has drawn (that is what flattens it)
    :param chunk_size: Rows a chunk, at most
    :return: an iterator over the chunks
    """
    n_rows = buffer.buffer_size * buffer.n_envs
    for start in range(0, n_rows, chunk_size):
        yield buffer._get_samples(np.arange(start, min(start + chunk_size, n_rows)))


def select(samples: Samples, keep: th.Tensor | slice) -> Samples:
    """
    :param samples: B rows
    :param keep: a mask, shape (B,), or a slice
    :return: the rows that ``keep`` picks
    """
    observations = samples.observations
    if isinstance(observations, dict):
        kept: Any = {key: value[keep] for key, value in observations.items()}
    else:
        kept = observations[keep]
    return type(samples)(kept, *(field[keep] for field in samples[1:]))
