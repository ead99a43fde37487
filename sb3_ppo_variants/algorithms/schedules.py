"""Coefficients that may be a number, a schedule, or a string like ``"lin_0.01"``."""

from typing import TypeAlias

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule

#: A constant, an SB3 schedule (progress remaining, 1 to 0, to a number), or ``"lin_x"``: linear from x to 0.
Coefficient: TypeAlias = float | Schedule | str

_LINEAR = "lin_"


def parse_coefficient(name: str, coefficient: Coefficient | None) -> float | Schedule | None:
    """
    :param name: The argument's name, for the message
    :param coefficient: A number, a schedule, or ``"lin_x"`` as in rl_zoo3
    :return: a string turned into an SB3 ``LinearSchedule``; anything else (``None`` too) as it is
    :raises ValueError: for any other string
    """
    if not isinstance(coefficient, str):
        return coefficient
    try:
        if not coefficient.startswith(_LINEAR):
            raise ValueError
        return LinearSchedule(float(coefficient[len(_LINEAR) :]), 0.0, 1.0)
    except ValueError:
        raise ValueError(
            f"{name}={coefficient!r} is not a coefficient: pass a number, a schedule (a function of the remaining "
            f'progress, 1 to 0), or "lin_<number>" for a linear decay to zero, such as "lin_0.01".'
        ) from None


def current_value(name: str, coefficient: Coefficient, progress_remaining: float) -> float:
    """
    :param name: The argument's name, for the message
    :param coefficient: A number, a schedule, or ``"lin_x"``
    :param progress_remaining: 1 at the start of training, 0 at its end
    :return: the coefficient's value at this point
    """
    parsed = parse_coefficient(name, coefficient)
    if parsed is None:
        raise ValueError(f"{name} is None: assign a number or a schedule.")
    return float(parsed(progress_remaining)) if callable(parsed) else float(parsed)
