"""Whether a surrogate of one's own keeps the contract of surrogates."""

from numbers import Real

import numpy as np
import torch as th

from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.objectives.surrogate import Surrogate

# Ratios from 0.05 to 20 at which nobody would put a corner, and 1, where every first minibatch stands.
LOG_RATIOS = np.append(np.linspace(-2.97, 2.97, 62), 0.0)
ADVANTAGES = np.array([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0])

REMEDY = "Write it with namespace_of(log_ratio).exp and the like, from sb3_ppo_variants.arrays."


def check_surrogate(surrogate: Surrogate) -> None:
    """
    Check that a surrogate keeps its contract, as SB3's ``check_env`` does for environments.

    The closed form trains with ``slope``, autograd with ``value``, and neither notices if they contradict each other.
    On ratios from 0.05 to 20 and advantages from −3 to 3 this compares ``slope`` with the derivative of ``value`` by
    automatic differentiation, and numpy with torch, in float64 to within 1e-6 (relative where that is more). Both
    functions must return one entry per sample, in the kind and data type of their arguments, and refuse arguments of
    unequal shapes; ``band`` must be ``None`` or two numbers ≥ 0. At a corner at r = 1, where every first minibatch
    stands, the slope must be the one that torch takes; other corners, and what lies beyond these ratios, are not
    looked at.

    :param surrogate: An object with ``band``, ``value`` and ``slope``; see :class:`Surrogate`
    :raises ValueError: if two numbers differ, or a shape, a data type or the band is wrong
    :raises TypeError: if a function returns another kind than it is given, or torch cannot differentiate ``value``
    """
    band = surrogate.band
    if band is not None and not (np.shape(band) == (2,) and all(isinstance(e, Real) and e >= 0 for e in band)):
        raise ValueError(
            f"{surrogate}: band={band!r} must be None or (ε below 1, ε above 1), two numbers ≥ 0, such as (0.2, 0.2)."
        )
    sample = [axis.ravel() for axis in np.meshgrid(LOG_RATIOS, ADVANTAGES)]
    for name in ("value", "slope"):
        _check_shapes(surrogate, name)
        results = []
        for kind in (np.copy, _tensor):
            _check_form(surrogate, name, [kind(array.astype(np.float32)) for array in sample])
            result = getattr(surrogate, name)(*map(kind, sample))
            results.append(result.detach().numpy() if isinstance(result, th.Tensor) else result)
        _check_equal(surrogate, sample, **{f"{name} in numpy": results[0], f"{name} in torch": results[1]})
    derivative = _derivative_of_value(surrogate, *map(_tensor, sample))
    _check_equal(surrogate, sample, **{"slope": results[0], "∂ value / ∂ log_ratio (r times that by r)": derivative})


def _tensor(array: np.ndarray) -> th.Tensor:
    # Not th.tensor: on the CPU, whatever the default device is.
    return th.from_numpy(array.copy())


def _check_shapes(surrogate: Surrogate, name: str) -> None:
    try:
        getattr(surrogate, name)(np.zeros(4), np.zeros((4, 1)))
    except ValueError:
        return
    raise ValueError(
        f"{surrogate}: {name} takes a log_ratio of shape (4,) with an advantage of shape (4, 1), which broadcast to "
        "(4, 4). Begin it with require_equal_shapes(log_ratio=log_ratio, advantage=advantage), from "
        "sb3_ppo_variants.arrays."
    )


def _check_form(surrogate: Surrogate, name: str, sample: list[Array]) -> None:
    result, given = getattr(surrogate, name)(*sample), sample[0]
    if not isinstance(result, type(given)):
        raise TypeError(
            f"{surrogate}: {name} returns {type(result).__name__} for {type(given).__name__}; it must return the kind "
            f"of array that it is given. {REMEDY}"
        )
    if result.shape != given.shape or result.dtype != given.dtype:
        raise ValueError(
            f"{surrogate}: {name} returns shape {tuple(result.shape)} in {result.dtype} for shape "
            f"{tuple(given.shape)} in {given.dtype}; it must return one entry per sample, not averaged, in the data "
            "type that it is given."
        )


def _derivative_of_value(surrogate: Surrogate, log_ratio: th.Tensor, advantage: th.Tensor) -> np.ndarray:
    log_ratio.requires_grad_()
    try:
        with th.enable_grad():
            return th.autograd.grad(surrogate.value(log_ratio, advantage).sum(), log_ratio)[0].numpy()
    except RuntimeError as error:
        raise TypeError(f"{surrogate}: torch cannot differentiate value ({error}). {REMEDY}") from error


def _check_equal(surrogate: Surrogate, sample: list[np.ndarray], **results: np.ndarray) -> None:
    (left_name, left), (right_name, right) = results.items()
    equal = np.isclose(left, right, rtol=1e-6, atol=1e-6)  # NaN equals nothing
    if not equal.all():
        at = np.argmin(equal)
        raise ValueError(
            f"{surrogate}: at r = {np.exp(sample[0][at]):.4g} and A = {sample[1][at]:g}, {left_name} is "
            f"{left[at]:.6g}, and {right_name} is {right[at]:.6g}. They must be finite and equal."
        )
