"""Checks of coefficients: constants, schedules, and what adapts or is adapted."""

import math
from numbers import Real
from typing import Any

from sb3_ppo_variants.algorithms.coefficients import Reading, kl_adaptive_rate
from sb3_ppo_variants.checks import Check, kind_of, number


def coefficient(
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    hint: str = "",
    may_follow_kl: bool = False,
) -> Check:
    """
    :param above: Exclusive lower bound
    :param at_least: Inclusive lower bound
    :param at_most: Inclusive upper bound
    :param hint: What to pass instead
    :param may_follow_kl: Whether it may be a ``KLAdaptiveRate``
    :return: a check of a number, or of a ``Reading`` that an update is about to use. A reading may equal an exclusive
        bound: a warm-up starts at zero, a decay ends there. A schedule passes unread: it is called only where its value
        is used, as often as SB3 calls it
    """
    constant = number(above=above, at_least=at_least, at_most=at_most, hint=hint)
    touching = number(at_least=max(above, at_least), at_most=at_most, hint=hint)

    def check(name: str, value: Any) -> None:
        adaptive = kl_adaptive_rate(value.coefficient if isinstance(value, Reading) else value)
        if adaptive is not None and not may_follow_kl:
            raise ValueError(
                f"{name}={adaptive!r} follows the KL, which is only for the learning_rate of the PPOs: pass a number, "
                'a schedule (a function of the remaining progress, 1 to 0), or a string like "lin_0.01".'
            )
        if isinstance(value, Reading):
            touching(name, value.value)
        elif isinstance(value, Real):
            constant(name, value)
        elif not callable(value):
            raise TypeError(
                f"{name}={value!r} is {kind_of(value)}: pass a number, a schedule (a function of the "
                'remaining progress, 1 to 0), or a string like "lin_0.01".'
            )

    return check


def check_adapts(name: str, coef: Any, target_name: str, target: float) -> None:
    """
    :param name: Name of a KL coefficient
    :param coef: Its value
    :param target_name: Name of the KL target that adapts it
    :param target: That target
    :raises ValueError: it is a schedule, or begins at 0
    """
    if callable(coef):
        raise ValueError(
            f"{name}={coef!r} is a schedule while {target_name}={target!r} adapts it: pass a number as start value, or "
            f"{target_name}=None."
        )
    if coef == 0:
        raise ValueError(
            f"{name}=0 would be adapted from 1e-10 on, which takes dozens of updates: pass a start value > 0, or "
            f"{target_name}=None."
        )
