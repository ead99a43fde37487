"""Values as two processes compare them."""

import numpy as np

from sb3_ppo_variants.resume.descriptions import described


def test_numbers_of_numpy_are_numbers() -> None:
    assert described(np.float32(3)) == 3.0
    assert described(np.float32(3)) != described(np.float32(4))
    assert described({"a": [np.int64(1), np.bool_(True)]}) == {"a": [1, True]}


def test_arrays_differ_by_their_contents_shape_and_type() -> None:
    one = np.arange(6)
    assert described(one) == described(one.copy())
    others = (one + 1, one.reshape(2, 3), one.astype(np.int32), np.asfortranarray(one.reshape(2, 3)) + 1)
    assert len({described(array) for array in (one, *others)}) == 5
    assert described(np.asfortranarray(one.reshape(2, 3))) == described(one.reshape(2, 3))


def test_what_is_no_number_equals_itself() -> None:
    assert described(np.float64("nan")) == described(float("nan")) == "nan"
    assert described(object()) == described(object())
