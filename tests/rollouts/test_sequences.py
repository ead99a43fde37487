"""How rows follow one another: padding, cutting, and the minibatches of policies with memory."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sb3_ppo_variants.rollouts.minibatches import cut_sequences, minibatches, rows_in_order, whole_sequences
from sb3_ppo_variants.rollouts.sequences import Sequences, beginnings, sequences_of
from tests.rollouts.filled import N_LAYERS, N_UNITS, filled, slow_sequences

#: Of two environments with six steps: rows 0 to 5 are the first's. Episodes begin at 2, 3 and 6.
STARTS = np.array([[0, 1], [0, 0], [1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)

#: Which steps begin an episode, for up to 12 steps of up to 3 environments.
all_starts = st.tuples(st.integers(1, 12), st.integers(1, 3)).flatmap(
    lambda shape: arrays(bool, shape, elements=st.booleans())
)
lengths = st.none() | st.integers(1, 5)
CALM = settings(deadline=None, max_examples=80)


# ---- By hand ----


def test_sequences_by_hand() -> None:
    """Rows 1; 2; 3, 4; 5; 6 of the flattened rollout, cut every two rows: 3, 4 and 5 are one episode."""
    buffer = filled(STARTS)
    sequences = sequences_of(buffer, np.arange(1, 7), length=2)
    assert sequences.longest == 2
    assert sequences.n_padded == 5 * 2
    assert sequences.positions.tolist() == [0, 2, 4, 5, 6, 8]
    assert sequences.episode_starts.tolist() == [0, 0, 0, 0, 0, 0]
    # Those that begin an episode, at rows 2, 3 and 6, start from zeros.
    for states, offsets in ((sequences.states.pi, (0, 0.25)), (sequences.states.vf, (0.5, 0.75))):
        for part, offset in zip(states, offsets, strict=True):
            assert part.shape == (N_LAYERS, 5, N_UNITS)
            assert part[1, :, 2].tolist() == [1 + offset, 0, 0, 5 + offset, 0]


def test_sb3_contribs_sequences_keep_their_flags_and_states() -> None:
    sequences = sequences_of(filled(STARTS), np.arange(1, 7), fused=False)
    assert sequences.episode_starts.tolist() == [0, 1, 1, 0, 0, 1]
    assert sequences.positions.tolist() == [0, 3, 6, 7, 8, 9]
    assert sequences.states.pi[0][0, :, 0].tolist() == [1, 2, 3, 6]


def test_padding_by_hand() -> None:
    sequences = sequences_of(filled(STARTS), np.arange(1, 7), length=2)
    rows = th.arange(1.0, 7.0)
    padded = [1, 9, 2, 9, 3, 4, 5, 9, 6, 9]
    assert sequences.pad(rows, 9).tolist() == padded
    assert sequences.pad({"a": rows.int(), "b": rows[:, None]}, 9)["b"].tolist() == [[number] for number in padded]
    assert sequences.pad(rows.to(th.int8)).dtype == th.int8
    assert sequences.unpad(th.tensor(padded)).tolist() == rows.tolist()


def test_every_second_sequence() -> None:
    sequences = sequences_of(filled(STARTS), np.arange(1, 7), length=2)
    taken, thinned = sequences.every(2)
    # The sequences of rows 1, of 3 and 4, and of 6.
    assert taken.tolist() == [0, 2, 3, 5]
    assert thinned.positions.tolist() == [0, 2, 3, 4]
    assert thinned.states.pi[0][0, :, 0].tolist() == [1, 0, 0]
    assert thinned.pad(th.tensor([1, 3, 4, 6])).tolist() == [1, 0, 3, 4, 6, 0]


# ---- For any rollout ----


@CALM
@given(all_starts, lengths, st.booleans(), st.data())
def test_sequences_are_those_of_the_obvious_loop(starts, length, fused, data) -> None:
    buffer = filled(starts)
    first = data.draw(st.integers(0, starts.size - 1))
    numbers = np.roll(np.arange(starts.size), -first)[: data.draw(st.integers(1, starts.size))]
    expected = slow_sequences(starts, numbers.tolist(), length)
    begins = beginnings(buffer, numbers, length)
    assert [part.tolist() for part in np.split(numbers, np.flatnonzero(begins)[1:])] == expected

    sequences = sequences_of(buffer, numbers, length, fused)
    rows = th.from_numpy(numbers)
    padded = sequences.pad(rows, -1).reshape(len(expected), sequences.longest)
    assert [[number for number in row if number >= 0] for row in padded.tolist()] == expected
    assert th.equal(sequences.unpad(sequences.pad(rows, -1)), rows)
    # What reaches the network at a sequence's first row: the state stored there, or zeros.
    flags = sequences.pad(sequences.episode_starts).reshape(len(expected), -1)
    for index, sequence in enumerate(expected):
        env, step = divmod(sequence[0], len(starts))
        reaches = sequences.states.pi[0][0, index, 0] * (1 - flags[index, 0])
        assert reaches == (0 if starts[step, env] else sequence[0])
        assert not flags[index, 1:].any()


@CALM
@given(all_starts, st.integers(1, 4))
def test_every_nth_sequence_of_any_rollout(starts, n) -> None:
    buffer = filled(starts)
    sequences = sequences_of(buffer, np.arange(starts.size))
    taken, thinned = sequences.every(n)
    expected = slow_sequences(starts, list(range(starts.size)), None)[::n]
    assert taken.tolist() == [number for sequence in expected for number in sequence]
    padded = thinned.pad(taken, -1).reshape(len(expected), thinned.longest)
    assert [[number for number in row if number >= 0] for row in padded.tolist()] == expected


@CALM
@given(all_starts, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.data())
def test_cut_sequences(starts, length, n_sequences, seed, data) -> None:
    """Each kept row once an epoch, in whole sequences, in minibatches of about B rows."""
    buffer = filled(starts)
    kept = data.draw(arrays(bool, starts.size, elements=st.booleans()))
    kept[data.draw(st.integers(0, starts.size - 1))] = True
    expected = slow_sequences(starts, np.flatnonzero(kept).tolist(), length)
    batch_size = n_sequences * length
    np.random.seed(seed)
    drawn = [numbers.tolist() for numbers in cut_sequences(buffer, batch_size, kept, length)]
    found = [slow_sequences(starts, numbers, length) for numbers in drawn]
    assert sorted(number for numbers in drawn for number in numbers) == np.flatnonzero(kept).tolist()
    # Two sequences of an episode may have been drawn one after the other; all cuts are the rollout's.
    assert sorted(sequence for batch in found for sequence in batch) == expected
    assert all(len(numbers) < batch_size + length for numbers in drawn)
    assert all(len(numbers) > batch_size - length for numbers in drawn[:-1])
    n_full = -(-int(kept.sum()) // batch_size)
    assert n_full - 1 <= len(drawn) <= n_full


@CALM
@given(all_starts, st.integers(1, 40), st.integers(0, 99))
def test_whole_sequences_are_a_rotation(starts, batch_size, seed) -> None:
    buffer = filled(starts)
    np.random.seed(seed)
    drawn = list(whole_sequences(buffer, batch_size, None))
    np.random.seed(seed)
    expected = np.roll(np.arange(starts.size), -np.random.randint(starts.size))
    np.testing.assert_array_equal(np.concatenate(drawn), expected)
    assert all(len(numbers) == batch_size for numbers in drawn[:-1])


@CALM
@given(all_starts, st.integers(1, 20))
def test_rows_in_order_are_whole_episodes(starts, chunk_size) -> None:
    buffer = filled(starts)
    episodes = slow_sequences(starts, list(range(starts.size)), None)
    found = []
    for rows in rows_in_order(buffer, chunk_size):
        assert rows.sequences is not None
        padded = rows.sequences.pad(rows.actions[:, 0], -1).reshape(-1, rows.sequences.longest).int().tolist()
        assert len(padded) * rows.sequences.longest <= chunk_size or len(padded) == 1
        found += [[number for number in row if number >= 0] for row in padded]
    assert found == episodes


# ---- Rows ----


@pytest.mark.parametrize("length", [None, 2])
def test_rows_are_not_padded(length: int | None) -> None:
    buffer = filled(STARTS, flat=False)
    for rows, numbers in minibatches(buffer, 4, None, length):
        assert rows.sequences is not None
        assert numbers is not None
        for field in (rows.observations[:, 0], rows.actions[:, 0], rows.old_values, rows.old_log_prob):
            np.testing.assert_array_equal(field, numbers)
        np.testing.assert_array_equal(rows.advantages, buffer.advantages[numbers, 0])
        np.testing.assert_array_equal(rows.returns, buffer.returns[numbers, 0])


def test_selected_rows_keep_their_places() -> None:
    """Of rows 3 to 5 of one episode, the last is left out; padding takes its place."""
    buffer = filled(STARTS)
    rows = next(rows for rows in rows_in_order(buffer, 99))
    assert rows.sequences is not None
    selected = rows.select(th.tensor([3, 4, 6]))
    assert isinstance(selected.sequences, Sequences)
    assert selected.actions[:, 0].tolist() == [3, 4, 6]
    padded = selected.sequences.pad(selected.actions[:, 0], -1).reshape(-1, rows.sequences.longest)
    assert [[number for number in row if number >= 0] for row in padded.tolist()] == [[], [], [3, 4], [6]]


def test_a_length_needs_a_buffer_whose_rows_are_drawn_here() -> None:
    kind = type("Own", (type(filled(STARTS)),), {})
    with pytest.raises(ValueError, match="sequence_length=2 with a Own, which draws minibatches itself"):
        next(minibatches(filled(STARTS, kind, flat=False), 4, None, 2))
