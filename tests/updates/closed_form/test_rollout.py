"""A rollout's rows: picked, and walked through in parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_ppo_variants.updates.closed_form.rollout import FlatRollout


def numbered(n_rows: int) -> FlatRollout:
    numbers = np.arange(n_rows, dtype=np.float32)
    wide = numbers[:, None] + np.array([0.0, 0.5], np.float32)
    return FlatRollout(wide, wide[:, :1].copy(), numbers, numbers + 1, numbers + 2, numbers + 3)


@given(n_rows=st.integers(1, 40), size=st.integers(1, 50))
def test_parts_are_views_of_the_slices_in_order(n_rows: int, size: int) -> None:
    rollout = numbered(n_rows)
    parts = list(rollout.split(size))
    assert [len(part) for part in parts] == [min(size, n_rows - start) for start in range(0, n_rows, size)]
    for start, part in zip(range(0, n_rows, size), parts, strict=True):
        for name, whole in vars(rollout).items():
            np.testing.assert_array_equal(getattr(part, name), whole[start : start + size])
            assert np.shares_memory(getattr(part, name), whole)


def test_taken_rows_are_a_copy() -> None:
    rollout, rows = numbered(5), np.array([4, 0, 0])
    taken = rollout.take(rows)
    for name, whole in vars(rollout).items():
        np.testing.assert_array_equal(getattr(taken, name), whole[rows])
        assert not np.shares_memory(getattr(taken, name), whole)
    with pytest.raises(IndexError):
        rollout.take(np.array([5]))
