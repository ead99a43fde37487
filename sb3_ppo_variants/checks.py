"""Checks of arguments: each error names the value received, the rule and the remedy."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
import torch as th

#: Takes an argument's name and value; raises TypeError for the wrong kind, ValueError for one out of range.
Check: TypeAlias = Callable[[str, Any], None]


def plain_number(value: Any) -> Any:
    """
    :param value: A setting
    :return: a number that Python's and numpy's arithmetic take; anything else unchanged. (numpy's own floats stay:
        multiplying an array by one rounds differently from multiplying it by Python's.)
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.integer | np.bool_) or (isinstance(value, th.Tensor) and value.ndim == 0):
        return value.item()
    return float(value) if isinstance(value, Fraction | Decimal) else value


def kind_of(value: Any) -> str:
    """
    :param value: Any
    :return: its class with an article, as messages have it: "an int"
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _require(holds: bool, name: str, value: Any, rule: str, hint: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r} is out of range: it must be {rule}.{' ' + hint if hint else ''}")


def number(
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    hint: str = "",
    infinite: bool = False,
) -> Check:
    """
    :param above: Exclusive lower bound
    :param at_least: Inclusive lower bound
    :param at_most: Inclusive upper bound
    :param below: Exclusive upper bound
    :param hint: What to pass instead
    :param infinite: Whether it may be infinite
    :return: a check for a number within the bounds
    """
    bounds = ((">", above), (">=", at_least), ("<=", at_most), ("<", below))
    given = [f"{sign} {float(bound):.12g}" for sign, bound in bounds if math.isfinite(bound)]
    holds = ["finite"] * (not infinite) + given
    rule = " and ".join(holds)

    def check(name: str, value: Any) -> None:
        # In Python True is an int, but it is no learning rate.
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name}={value!r} is {kind_of(value)}: pass a number.")
        amount = float(value)
        inside = above < amount and at_least <= amount <= at_most and (amount < below or below == math.inf)
        _require(inside and (infinite or math.isfinite(amount)), name, value, rule, hint)

    return check


def integer(at_least: int, hint: str = "", at_most: float = math.inf) -> Check:
    """
    :param at_least: Inclusive lower bound
    :param hint: What to pass instead
    :param at_most: Inclusive upper bound
    :return: a check for a whole number within the bounds
    """
    rule = f">= {at_least}" + (f" and <= {at_most}" if math.isfinite(at_most) else "")

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name}={value!r} is {kind_of(value)}: pass a whole number {rule}.")
        _require(at_least <= int(value) <= at_most, name, value, rule, hint)

    return check


def instance(kinds: tuple[type, ...], called: str) -> Check:
    """
    :param kinds: The classes
    :param called: Their name in the message
    :return: a check for an instance of one of them
    """

    def check(name: str, value: Any) -> None:
        if not isinstance(value, kinds):
            raise TypeError(f"{name}={value!r} is {kind_of(value)}: pass {called}.")

    return check


def _is_choice(value: Any, allowed: Any) -> bool:
    # Type and value, except that 1 and 0 are as good as True and False.
    kinds = (bool, int) if isinstance(allowed, bool) else (type(allowed),)
    return type(value) in kinds and value == allowed


def choice(*choices: Any) -> Check:
    """
    :param choices: What may be passed
    :return: a check for one of them
    """

    def check(name: str, value: Any) -> None:
        if not any(_is_choice(value, allowed) for allowed in choices):
            raise ValueError(f"{name}={value!r} is unknown: pass one of {', '.join(map(repr, choices))}.")

    return check


def optional(check: Check) -> Check:
    """
    :param check: The check of a value that is not ``None``
    :return: the same check, which ``None`` passes too
    """

    def check_optional(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return check_optional
