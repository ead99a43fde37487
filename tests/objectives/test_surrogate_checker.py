"""What check_surrogate accepts, and that each mistake it names is found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_ppo_variants.arrays import Array, namespace_of, require_equal_shapes
from sb3_ppo_variants.objectives import Surrogate, check_surrogate
from tests.objectives.test_surrogates import Case, every_surrogate


@dataclass(frozen=True)
class Quadratic:
    """A·(r − (r − 1)²), its slope in ``log r`` A·r·(3 − 2r); ``wrong`` replaces members."""

    wrong: tuple[tuple[str, Any], ...] = ()

    def __getattribute__(self, name: str) -> Any:
        return dict(object.__getattribute__(self, "wrong")).get(name) or object.__getattribute__(self, name)

    @property
    def band(self) -> tuple[float, float] | None:
        return None

    def value(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        ratio = namespace_of(log_ratio).exp(log_ratio)
        return advantage * (ratio - (ratio - 1) ** 2)

    def slope(self, log_ratio: Array, advantage: Array) -> Array:
        require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
        ratio = namespace_of(log_ratio).exp(log_ratio)
        return advantage * ratio * (3 - 2 * ratio)


RIGHT = Quadratic()


def by_r(log_ratio: Array, advantage: Array) -> Array:
    require_equal_shapes(log_ratio=log_ratio, advantage=advantage)
    return advantage * (3 - 2 * namespace_of(log_ratio).exp(log_ratio))


def other_in_torch(log_ratio: Array, advantage: Array) -> Array:
    return RIGHT.value(log_ratio, advantage) * (1.01 if isinstance(log_ratio, th.Tensor) else 1)


def nan_at_one(log_ratio: Array, advantage: Array) -> Array:
    return RIGHT.slope(log_ratio, advantage) * log_ratio / log_ratio


def detached(log_ratio: Array, advantage: Array) -> Array:
    return RIGHT.value(log_ratio.detach() if isinstance(log_ratio, th.Tensor) else log_ratio, advantage)


def in_numpy(log_ratio: Array, advantage: Array) -> np.ndarray:
    return RIGHT.slope(np.asarray(log_ratio), np.asarray(advantage))


def broadcast(log_ratio: Array, advantage: Array) -> Array:
    ratio = namespace_of(log_ratio).exp(log_ratio)
    return advantage * ratio * (3 - 2 * ratio)


def in_double(log_ratio: Array, advantage: Array) -> Array:
    double = RIGHT.value(log_ratio, advantage)
    return double.double() if isinstance(double, th.Tensor) else double.astype(np.float64)


@every_surrogate
def test_the_packages_own_pass(case: Case) -> None:
    check_surrogate(case.surrogate)


def test_one_of_ones_own_passes() -> None:
    check_surrogate(RIGHT)
    check_surrogate(Quadratic((("band", (0.1, 0.3)),)))
    with th.no_grad(), th.device("meta"):
        check_surrogate(RIGHT)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(
    ("name", "member", "error", "says"),
    [
        # By hand, at r = e^-2.97 = 0.0513 and A = −3: by r −3·(3 − 2r) = −8.692, by log r that times r = −0.4459.
        ("slope", by_r, ValueError, r"at r = 0.0513 and A = -3, slope is -8.692\d*, and ∂ value .* is -0.4459"),
        (
            "slope",
            nan_at_one,
            ValueError,
            "at r = 1 and A = -3, slope in numpy is nan, and slope in torch is nan. They must be finite",
        ),
        ("value", other_in_torch, ValueError, "value in numpy is .* and value in torch is"),
        ("slope", in_numpy, TypeError, "slope returns ndarray for Tensor.*namespace_of"),
        ("value", in_double, ValueError, "value returns shape .* in float64 for shape .* in float32"),
        ("value", lambda x, a: RIGHT.value(x, a).mean()[None], ValueError, r"value returns shape \(1,\).*not averaged"),
        ("value", detached, TypeError, "torch cannot differentiate value"),
        (
            "slope",
            broadcast,
            ValueError,
            r"slope takes a log_ratio of shape \(4,\).*Begin it with require_equal_shapes",
        ),
        ("band", 0.2, ValueError, "band=0.2 must be None or"),
        ("band", (0.2, None), ValueError, r"band=\(0.2, None\) must be None or"),
        ("band", (-0.2, 0.2), ValueError, r"band=\(-0.2, 0.2\) must be None or"),
    ],
)
def test_what_is_wrong_is_said(name: str, member: Callable[..., Any] | Any, error: type[Exception], says: str) -> None:
    surrogate: Surrogate = Quadratic(((name, member),))
    with pytest.raises(error, match=says):
        check_surrogate(surrogate)
