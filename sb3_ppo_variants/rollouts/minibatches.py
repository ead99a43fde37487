"""Minibatches of a rollout, together with the numbers of the rows drawn."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

from sb3_ppo_variants.rollouts.originals import has_own, replaced_method
from sb3_ppo_variants.rollouts.rows import Rows

_SB3_BUFFERS = (RolloutBuffer, DictRolloutBuffer, MaskableRolloutBuffer, MaskableDictRolloutBuffer)
_DRAWING = ("get", "_get_samples", "swap_and_flatten")
#: What a buffer's ``get`` flattens beside the observations, where it has it.
_FLATTENED = ("actions", "values", "log_probs", "advantages", "returns", "action_masks")


class Minibatch(NamedTuple):
    """
    :param rows: B rows
    :param numbers: their numbers in the flattened rollout, shape (B,); ``None`` if the buffer hides them
    """

    rows: Rows
    numbers: np.ndarray | None


def drawing_order(n_rows: int, kept: np.ndarray | None) -> np.ndarray:
    """
    The order of one epoch, drawn as SB3's buffers draw it: one permutation from numpy's global generator.

    :param n_rows: N
    :param kept: which rows take part, shape (N,); ``None``: all
    :return: row numbers
    """
    order = np.random.permutation(n_rows)
    return order if kept is None else order[kept[order]]


def minibatches(buffer: RolloutBuffer, batch_size: int | None, kept: np.ndarray | None = None) -> Iterator[Minibatch]:
    """
    One epoch of ``buffer.get(batch_size)``: the same draws, with the row numbers beside the rows.

    :param buffer: A full rollout buffer
    :param batch_size: B; ``None``: all rows in one
    :param kept: which rows of the flattened rollout take part, shape (N,); ``None``: all
    :return: the epoch's minibatches
    :raises ValueError: if rows are to be left out and the buffer hides which it draws
    """
    if not draws_as_sb3(buffer):
        yield from _drawn_by(buffer, batch_size, kept)
        return
    flatten(buffer)
    order = drawing_order(buffer.buffer_size * buffer.n_envs, kept)
    size = batch_size or len(order)
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        yield Minibatch(_as_rows(buffer._get_samples(numbers)), numbers)


def drawn_rows(buffer: RolloutBuffer, batch_size: int | None) -> Iterator[Rows]:
    """
    One epoch of a buffer's own ``get``, for a caller who does not need the row numbers.

    :param buffer: A full rollout buffer
    :param batch_size: B; ``None``: all rows in one
    :return: the epoch's minibatches
    """
    return map(_as_rows, buffer.get(batch_size))


def rows_in_order(buffer: RolloutBuffer, chunk_size: int) -> Iterator[Rows]:
    """
    All rows of a flattened rollout, first to last, in chunks that bound the memory of a forward pass.

    :param buffer: A buffer that has been flattened
    :param chunk_size: Rows per chunk, at most
    :return: the chunks
    """
    n_rows = buffer.buffer_size * buffer.n_envs
    for start in range(0, n_rows, chunk_size):
        yield _as_rows(buffer._get_samples(np.arange(start, min(start + chunk_size, n_rows))))


def draws_as_sb3(buffer: RolloutBuffer) -> bool:
    """
    :param buffer: Any rollout buffer
    :return: whether it is exactly one of SB3's or of sb3-contrib's maskable ones, so that its rows can be drawn for it
    """
    kind = type(buffer)
    return kind in _SB3_BUFFERS and not has_own(buffer, _DRAWING) and not replaced_method(kind, _DRAWING)


def flatten(buffer: RolloutBuffer) -> None:
    """
    Flatten a buffer of SB3's in place, as its ``get`` does once per rollout: row i becomes step i mod T of environment
    i div T.

    :param buffer: A full rollout buffer
    :raises ValueError: if it is not full
    """
    if not buffer.full:
        raise ValueError(
            f"The rollout buffer holds {buffer.pos} of {buffer.buffer_size} steps: an update needs a full one. Collect "
            "the rest first; to change n_steps after construction, make a new model."
        )
    if buffer.generator_ready:
        return
    observations: Any = buffer.observations
    if isinstance(observations, dict):
        observations.update({key: buffer.swap_and_flatten(array) for key, array in observations.items()})
    else:
        buffer.observations = buffer.swap_and_flatten(observations)
    for name in filter(vars(buffer).__contains__, _FLATTENED):
        setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
    buffer.generator_ready = True


def _as_rows(samples: RolloutBufferSamples | DictRolloutBufferSamples) -> Rows:
    # By name: a user's buffer may yield more. It may leave out old values, which only the clipped value loss reads.
    old_values: Any = getattr(samples, "old_values", None)
    return Rows(
        samples.observations,
        samples.actions,
        old_values,
        samples.old_log_prob,
        samples.advantages,
        samples.returns,
        getattr(samples, "action_masks", None),
    )


def _drawn_by(buffer: RolloutBuffer, batch_size: int | None, kept: np.ndarray | None) -> Iterator[Minibatch]:
    """Minibatches of a user's own buffer, which draws them itself."""
    for samples, numbers in _noting_numbers(buffer, batch_size):
        rows = _as_rows(samples)
        if kept is not None:
            if numbers is None:
                raise ValueError(
                    f"{type(buffer).__name__} does not draw its minibatches through _get_samples, so unfinished "
                    "episodes cannot be left out: pass baseline=True, or another rollout_buffer_class."
                )
            keep = np.flatnonzero(kept[numbers])
            rows, numbers = rows.select(th.as_tensor(keep, device=samples.advantages.device)), numbers[keep]
        yield Minibatch(rows, numbers)


def _noting_numbers(buffer: RolloutBuffer, batch_size: int | None) -> Iterator[tuple[Any, np.ndarray | None]]:
    """
    What is kept per row (the old distribution's parameters, which episodes ended) has to be found again for a
    minibatch, so row numbers are noted where SB3's ``get`` passes them on, in ``_get_samples``. For a buffer that draws
    in another way they are ``None``.
    """
    if not hasattr(buffer, "_get_samples"):
        yield from ((samples, None) for samples in buffer.get(batch_size))
        return
    drawn: list[Any] = []
    get_samples = buffer._get_samples
    had_own = "_get_samples" in vars(buffer)

    def noting(batch_inds: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        drawn.append(batch_inds)
        return get_samples(batch_inds, *args, **kwargs)

    buffer._get_samples = noting  # type: ignore[method-assign]
    try:
        for samples in buffer.get(batch_size):
            numbers = drawn[0] if len(drawn) == 1 else None
            if not (isinstance(numbers, np.ndarray) and numbers.shape == (len(samples.advantages),)):
                numbers = None
            yield samples, numbers
            # After the yield: while a minibatch is in use, others may ask the buffer for rows too.
            drawn.clear()
    finally:
        # An epoch left open may be closed long after another has begun: only our own wrapper is removed.
        if vars(buffer).get("_get_samples") is noting:
            del buffer._get_samples
            if had_own:
                buffer._get_samples = get_samples  # type: ignore[method-assign]
