"""The recipe of CONTRIBUTING.md: a surrogate and a class of one's own, outside the package."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest
from typing_extensions import Unpack

from sb3_ppo_variants.algorithms.arguments import SurrogateArguments
from sb3_ppo_variants.algorithms.surrogate_ppo import SurrogatePPO
from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.checks import number
from sb3_ppo_variants.objectives import Surrogate
from tests.algorithms.models import make, parameters_of


@dataclass(frozen=True)
class MySurrogate:
    """r·A − strength·(log r)²."""

    strength: float

    @property
    def band(self) -> None:
        return None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        return advantage * namespace_of(log_ratio).exp(log_ratio) - self.strength * log_ratio**2

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        return advantage * namespace_of(log_ratio).exp(log_ratio) - 2 * self.strength * log_ratio


class MyPPO(SurrogatePPO):
    """:param strength: How hard log r is pulled to zero"""

    checks = SurrogatePPO.checks | {"strength": number(above=0)}

    def __init__(
        self, policy, env, learning_rate=3e-4, n_steps=2048, *, strength=1.0, **kwargs: Unpack[SurrogateArguments]
    ):
        self.strength = strength
        super().__init__(policy, env, learning_rate, n_steps, **kwargs)

    def _surrogate(self) -> Surrogate:
        return MySurrogate(self.strength)


def test_the_rest_comes_by_itself(tmp_path) -> None:
    assert {"strength", "n_epochs", "vf_coef", "update_backend"} <= set(inspect.signature(MyPPO).parameters)
    with pytest.raises(ValueError, match="strength=-1 is out of range"):
        make(MyPPO, strength=-1)
    with pytest.raises(TypeError, match="did you mean 'strength'"):
        make(MyPPO, strenght=1)
    model = make(MyPPO, strength=3.0).learn(64)
    model.save(tmp_path / "model")
    assert MyPPO.load(tmp_path / "model").strength == 3.0
    assert MyPPO.load_safe(model.save_safe(tmp_path / "safe")).strength == 3.0


def test_both_backends_follow_it() -> None:
    closed, autograd = (
        parameters_of(make(MyPPO, update_backend=b, learning_rate=3e-3).learn(192)) for b in ("closed_form", "autograd")
    )
    np.testing.assert_allclose(closed, autograd, rtol=1e-4, atol=1e-5)
