"""Coefficients: a number, a schedule, or a string like ``"lin_0.01"``; for the learning rate also ``"kl_0.01"``."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule

from sb3_ppo_variants.objectives import KLAdaptiveRate

#: A constant, an SB3 schedule (progress remaining, 1 to 0, to a number), or ``"lin_x"``: linear from x to 0.
Coefficient: TypeAlias = float | Schedule | str

_LINEAR = "lin_"
#: Only for the learning rate.
_FOLLOWS_KL = "kl_"


def parse_coefficient(name: str, coefficient: Coefficient | None) -> float | Schedule | None:
    """
    :param name: The argument's name, for the message
    :param coefficient: A number, a schedule, ``"lin_x"`` as in rl_zoo3, or as a learning rate ``"kl_x"``
    :return: a string turned into an SB3 ``LinearSchedule`` or a ``KLAdaptiveRate``, a numpy number into a Python one,
        which SB3's schedules take; anything else (``None`` too) unchanged
    :raises ValueError: for any other string
    """
    if isinstance(coefficient, np.floating):
        return float(coefficient)
    if not isinstance(coefficient, str):
        return coefficient
    may_follow_kl = name == "learning_rate"
    try:
        if may_follow_kl and coefficient.startswith(_FOLLOWS_KL):
            return KLAdaptiveRate(float(coefficient[len(_FOLLOWS_KL) :]))
        if not coefficient.startswith(_LINEAR):
            raise ValueError
        return LinearSchedule(float(coefficient[len(_LINEAR) :]), 0.0, 1.0)
    except ValueError:
        raise ValueError(
            f"{name}={coefficient!r} is not a coefficient: pass a number, a schedule (a function of the remaining "
            f'progress, 1 to 0), or "lin_<number>" for a linear decay to zero, such as "lin_0.01".'
            + ' A rate that follows the KL is "kl_<target>", such as "kl_0.01".'
            * may_follow_kl
        ) from None


@dataclass(frozen=True)
class Reading:
    """
    The value of a coefficient at one moment of the training.

    :param coefficient: The number or schedule that was read
    :param progress: The remaining progress at which it was read, 1 to 0; below 0 past the total
    :param value: Its value there
    """

    coefficient: float | Schedule
    progress: float
    value: float

    @classmethod
    def of(cls, coefficient: float | Schedule, progress: float) -> "Reading":
        """
        :param coefficient: A number, or a schedule, which is called once
        :param progress: The remaining progress
        :return: its value at this progress
        """
        return cls(coefficient, progress, float(coefficient(progress) if callable(coefficient) else coefficient))


def kl_adaptive_rate(coefficient: object) -> KLAdaptiveRate | None:
    """
    :param coefficient: A coefficient, also as SB3 wraps it (``FloatSchedule``)
    :return: the rate that follows the KL, if it is one
    """
    schedule = getattr(coefficient, "value_schedule", coefficient)
    return schedule if isinstance(schedule, KLAdaptiveRate) else None
