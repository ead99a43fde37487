"""The three ways to scale advantages."""

import numpy as np
import pytest
import torch as th

from sb3_ppo_variants.objectives import AdvantageNormalizer

ROLLOUT = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)


def test_per_minibatch_by_hand() -> None:
    normalize = AdvantageNormalizer(True, ROLLOUT)
    # mean 2, deviations −1, 0, 1; variance with ddof = 1 is (1 + 0 + 1)/2 = 1.
    th.testing.assert_close(normalize(th.tensor([1.0, 2.0, 3.0])), th.tensor([-1.0, 0.0, 1.0]))
    # What the rollout was does not matter.
    again = AdvantageNormalizer(True, 100 * ROLLOUT)(th.tensor([1.0, 2.0, 3.0]))
    assert th.equal(again, normalize(th.tensor([1.0, 2.0, 3.0])))


def test_per_minibatch_is_sb3s() -> None:
    advantages = th.randn(64, generator=th.Generator().manual_seed(3))
    expected = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    assert th.equal(AdvantageNormalizer(True, ROLLOUT)(advantages), expected)


def test_over_the_rollout_by_hand() -> None:
    normalize = AdvantageNormalizer("rollout", ROLLOUT)
    # mean (1 + 2 + 3 + 6)/4 = 3; deviations −2, −1, 0, 3; variance (4 + 1 + 0 + 9)/3 = 14/3.
    scale = (14 / 3) ** 0.5
    th.testing.assert_close(normalize(th.tensor([6.0])), th.tensor([3 / scale]))
    th.testing.assert_close(normalize(th.tensor([1.0, 6.0])), th.tensor([-2 / scale, 3 / scale]))


def test_over_the_rollout_the_split_into_minibatches_does_not_matter() -> None:
    rollout = np.random.default_rng(0).normal(3, 5, (32, 4)).astype(np.float32)
    normalize = AdvantageNormalizer("rollout", rollout)
    flat = th.from_numpy(rollout.ravel())
    whole = normalize(flat)
    assert th.equal(th.cat([normalize(flat[:50]), normalize(flat[50:])]), whole)
    assert whole.mean().item() == pytest.approx(0, abs=1e-6)
    assert whole.std().item() == pytest.approx(1, abs=1e-6)


def test_as_they_are() -> None:
    advantages = th.tensor([5.0, -7.0])
    assert th.equal(AdvantageNormalizer(False, ROLLOUT)(advantages), advantages)


def test_one_row_has_no_standard_deviation() -> None:
    one = th.tensor([5.0])
    for mode in (True, False):
        assert th.equal(AdvantageNormalizer(mode, ROLLOUT)(one), one)
    assert th.equal(AdvantageNormalizer("rollout", np.array([[5.0]], np.float32))(one), one)


def test_equal_advantages_become_zero() -> None:
    equal = th.full((8,), 4.0)
    assert th.equal(AdvantageNormalizer(True, ROLLOUT)(equal), th.zeros(8))
    assert th.equal(AdvantageNormalizer("rollout", np.full((4, 2), 4.0, np.float32))(equal), th.zeros(8))


@pytest.mark.parametrize("n", [7, 64, 2048])
def test_rounding_errors_of_equal_advantages_become_zero(n: int) -> None:
    for value in np.random.default_rng(n).normal(scale=10, size=50).astype(np.float32):
        equal = np.full(n, value, np.float32)
        assert not AdvantageNormalizer(True, ROLLOUT)(equal).any()
        assert not AdvantageNormalizer(True, ROLLOUT)(th.from_numpy(equal)).any()
        assert not AdvantageNormalizer(True, ROLLOUT).minibatches(equal, 8).any()
        assert not AdvantageNormalizer("rollout", equal)(equal).any()
    # What differs by more is not touched, however small.
    near = np.full(n, 1, np.float32) + np.linspace(0, 1e-4, n, dtype=np.float32)
    assert AdvantageNormalizer(True, ROLLOUT)(near).std(ddof=1) == pytest.approx(1, abs=0.01)
    assert AdvantageNormalizer(True, ROLLOUT)(equal).dtype == np.float32
    assert AdvantageNormalizer(True, ROLLOUT).minibatches(near, 8).dtype == np.float32


@pytest.mark.parametrize("mode", [True, "rollout", False])
def test_the_input_is_left_alone(mode: bool | str) -> None:
    advantages, rollout = th.tensor([1.0, 2.0, 4.0]), ROLLOUT.copy()
    result = AdvantageNormalizer(mode, rollout)(advantages)
    assert th.equal(advantages, th.tensor([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(rollout, ROLLOUT)
    assert result.dtype == th.float32
