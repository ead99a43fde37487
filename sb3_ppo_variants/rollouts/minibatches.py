"""Minibatches of a rollout, together with the numbers of the rows drawn."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

from sb3_ppo_variants.rollouts.buffers import KNOWN_BUFFERS, STATES, keeps_masks, keeps_states
from sb3_ppo_variants.rollouts.originals import has_own, replaced_method
from sb3_ppo_variants.rollouts.rows import Rows
from sb3_ppo_variants.rollouts.sequences import Sequences, beginnings, sequences_of

#: Rows per forward pass where a whole rollout is evaluated without gradients.
CHUNK_SIZE = 2048
_DRAWING = ("get", "_get_samples", "swap_and_flatten")
#: What a buffer's ``get`` flattens beside the observations, where it has it.
_FLATTENED = ("actions", "values", "log_probs", "advantages", "returns", "action_masks", *STATES)


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


def minibatches(
    buffer: RolloutBuffer,
    batch_size: int | None,
    kept: np.ndarray | None = None,
    sequence_length: int | None = None,
    fused: bool = False,
) -> Iterator[Minibatch]:
    """
    One epoch of ``buffer.get(batch_size)``: the same draws, with the row numbers beside the rows.

    With memory: see ``whole_sequences`` and, with a ``sequence_length``, ``cut_sequences``.

    :param buffer: A full rollout buffer
    :param batch_size: B; ``None``: all rows in one
    :param kept: which rows of the flattened rollout take part, shape (N,); ``None``: all
    :param sequence_length: L, of a policy with memory; ``None``: sb3-contrib's minibatches
    :param fused: See ``sequences_of``; with L always
    :return: the epoch's minibatches
    :raises ValueError: if rows are to be left out and the buffer hides which it draws, or L is given and it draws
        itself
    """
    if not draws_as_sb3(buffer):
        if sequence_length is not None:
            raise ValueError(
                f"sequence_length={sequence_length} with a {type(buffer).__name__}, which draws minibatches itself: "
                "pass sequence_length=None, or rollout_buffer_class=None."
            )
        yield from _drawn_by(buffer, batch_size, kept)
        return
    flatten(buffer)
    if keeps_states(buffer):
        if sequence_length is None:
            drawn = whole_sequences(buffer, batch_size, kept)
        else:
            drawn = cut_sequences(buffer, batch_size, kept, sequence_length)
        for numbers in drawn:
            is_fused = fused or sequence_length is not None
            yield Minibatch(_rows_in_sequence(buffer, numbers, sequence_length, is_fused), numbers)
        return
    order = drawing_order(buffer.buffer_size * buffer.n_envs, kept)
    size = batch_size or len(order)
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        yield Minibatch(_as_rows(buffer._get_samples(numbers)), numbers)


def whole_sequences(buffer: RolloutBuffer, batch_size: int | None, kept: np.ndarray | None) -> Iterator[np.ndarray]:
    """
    One epoch as sb3-contrib's recurrent buffer draws it: the rows in order of time, environment after environment,
    starting at a row drawn from numpy's global generator, in consecutive minibatches.

    :param buffer: A flattened buffer that keeps states
    :param batch_size: B; ``None``: all rows in one
    :param kept: which rows take part, shape (N,); ``None``: all
    :return: row numbers of each minibatch
    """
    n_rows = buffer.buffer_size * buffer.n_envs
    order = np.roll(np.arange(n_rows), -np.random.randint(n_rows))
    order = order if kept is None else order[kept[order]]
    size = batch_size or len(order)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def cut_sequences(
    buffer: RolloutBuffer, batch_size: int | None, kept: np.ndarray | None, length: int
) -> Iterator[np.ndarray]:
    """
    One epoch in sequences of equal length: the rollout is cut at ends of episodes and every L rows, the sequences are
    put in a random order (one permutation from numpy's global generator), and each minibatch takes as many as hold B
    rows.

    Sequences are never divided, so a minibatch may have up to L − 1 rows more or fewer than B, and the last one may be
    merged into the one before.

    :param buffer: A flattened buffer that keeps states
    :param batch_size: B; ``None``: all rows in one
    :param kept: which rows take part, shape (N,); ``None``: all
    :param length: L
    :return: row numbers of each minibatch, sequence after sequence
    """
    numbers = np.arange(buffer.buffer_size * buffer.n_envs)
    numbers = numbers if kept is None else numbers[kept]
    starts = np.flatnonzero(beginnings(buffer, numbers, length))
    parts = np.split(numbers, starts[1:])
    order = np.random.permutation(len(parts))
    sizes = np.array([len(parts[index]) for index in order])
    size = batch_size or len(numbers)
    # By the row in a sequence's middle, each goes into one of ⌈N/B⌉ equal stretches.
    batch_of = ((np.cumsum(sizes) - sizes / 2) // size).astype(int)
    for batch in range(batch_of[-1] + 1):
        chosen = order[batch_of == batch]
        if len(chosen) > 0:
            yield np.concatenate([parts[index] for index in chosen])


def _rows_in_sequence(buffer: RolloutBuffer, numbers: np.ndarray, length: int | None, fused: bool) -> Rows:
    rows = rows_at(buffer, numbers)
    rows.sequences = sequences_of(buffer, numbers, length, fused)
    return rows


def rows_at(buffer: RolloutBuffer, numbers: np.ndarray) -> Rows:
    """
    :param buffer: A flattened buffer
    :param numbers: Row numbers
    :return: these rows, without the order in which they follow one another
    """
    if not keeps_states(buffer):
        return _as_rows(buffer._get_samples(numbers))
    # The fields per row by SB3's own method, not by the recurrent buffer's, which pads them.
    kind = DictRolloutBuffer if isinstance(buffer, DictRolloutBuffer) else RolloutBuffer
    rows = _as_rows(kind._get_samples(buffer, numbers))  # type: ignore[arg-type]
    if keeps_masks(buffer):
        rows.action_masks = buffer.to_torch(buffer.action_masks[numbers])  # type: ignore[attr-defined]
    return rows


def drawn_rows(buffer: RolloutBuffer, batch_size: int | None, sequence_length: int | None = None) -> Iterator[Rows]:
    """
    One epoch for a caller who needs neither the row numbers nor sb3-contrib's rounding.

    :param buffer: A full rollout buffer
    :param batch_size: B; ``None``: all rows in one
    :param sequence_length: L, of a policy with memory
    :return: the epoch's minibatches
    """
    return (minibatch.rows for minibatch in minibatches(buffer, batch_size, None, sequence_length, fused=True))


def rows_in_order(buffer: RolloutBuffer, chunk_size: int = CHUNK_SIZE) -> Iterator[Rows]:
    """
    All rows of a flattened rollout, first to last, in chunks that bound the memory of a forward pass.

    :param buffer: A buffer that has been flattened
    :param chunk_size: Rows per chunk, at most; with memory, padded rows, unless one episode has more
    :return: the chunks; with memory, of whole episodes
    """
    n_rows = buffer.buffer_size * buffer.n_envs
    if keeps_states(buffer):
        for numbers in _episodes_in_order(buffer, chunk_size):
            yield _rows_in_sequence(buffer, numbers, None, fused=True)
        return
    for start in range(0, n_rows, chunk_size):
        yield _as_rows(buffer._get_samples(np.arange(start, min(start + chunk_size, n_rows))))


def _episodes_in_order(buffer: RolloutBuffer, chunk_size: int) -> Iterator[np.ndarray]:
    """Row numbers, first to last, in chunks of whole episodes (as far as the rollout has them)."""
    numbers = np.arange(buffer.buffer_size * buffer.n_envs)
    ends = [*np.flatnonzero(beginnings(buffer, numbers, None))[1:], len(numbers)]
    first = begun = longest = count = 0
    for end in ends:
        longer = max(longest, end - begun)
        if count > 0 and (count + 1) * longer > chunk_size:
            yield numbers[first:begun]
            first, count, longer = begun, 0, end - begun
        begun, longest, count = end, longer, count + 1
    yield numbers[first:]


def draws_as_sb3(buffer: RolloutBuffer) -> bool:
    """
    :param buffer: Any rollout buffer
    :return: whether it is exactly one of SB3's, sb3-contrib's or ours, so that its rows can be drawn for it
    """
    kind = type(buffer)
    return kind in KNOWN_BUFFERS and not has_own(buffer, _DRAWING) and not replaced_method(kind, _DRAWING)


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
    if keeps_states(buffer):
        for name in STATES:  # (T, layers, E, units) to (T, E, layers, units)
            setattr(buffer, name, getattr(buffer, name).swapaxes(1, 2))
        buffer.episode_starts = buffer.swap_and_flatten(buffer.episode_starts)
    for name in filter(vars(buffer).__contains__, _FLATTENED):
        setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
    buffer.generator_ready = True


def _as_rows(samples: RolloutBufferSamples | DictRolloutBufferSamples) -> Rows:
    # By name: a user's buffer may yield more. It may leave out old values, which only the clipped value loss reads.
    old_values: Any = getattr(samples, "old_values", None)
    rows = Rows(
        observations=samples.observations,
        actions=samples.actions,
        old_values=old_values,
        old_log_prob=samples.old_log_prob,
        advantages=samples.advantages,
        returns=samples.returns,
        action_masks=getattr(samples, "action_masks", None),
    )
    return _without_padding(rows, samples) if hasattr(samples, "lstm_states") else rows


def _without_padding(padded: Rows, samples: Any) -> Rows:
    """The rows of a user's own buffer with memory, which pads them as sb3-contrib's does."""
    is_row = samples.mask > 1e-8
    states, positions = samples.lstm_states, is_row.nonzero().flatten()
    rows = padded.select(positions)
    longest = len(is_row) // int(states.pi[0].shape[1])
    rows.sequences = Sequences(states, samples.episode_starts[positions], positions, longest)
    return rows


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


def _n_rows(samples: Any) -> int:
    return int(samples.mask.sum()) if hasattr(samples, "lstm_states") else len(samples.advantages)


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
            n_rows = _n_rows(samples)
            if not (isinstance(numbers, np.ndarray) and numbers.shape == (n_rows,)):
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
