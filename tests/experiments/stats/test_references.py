"""Normalised returns and the shipped reference returns."""

import pytest

from sb3_ppo_variants.experiments.stats.references import normalise, reference_pairs, reference_returns


def test_normalise() -> None:
    assert reference_pairs(["CartPole-v1", "Mine-v0"]) == {"CartPole-v1": (21.61, 475.0)}
    assert normalise([21.61, 475.0], "CartPole-v1").tolist() == [0.0, 1.0]
    assert normalise(7.0, "Mine-v0", {"Mine-v0": (5.0, 9.0)}) == pytest.approx((7 - 5) / (9 - 5))
    assert reference_returns("Mine-v0") is None
    with pytest.raises(ValueError, match=r"no reference return for 'Mine-v0'.*known are CartPole-v1.*Compare ranks"):
        normalise([1.0], "Mine-v0")
