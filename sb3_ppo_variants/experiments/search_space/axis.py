"""The horizontal axis of one hyperparameter: its scale, ticks at round values, the documented range or default."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sb3_ppo_variants.defaults import DOCUMENTED, Documented
from sb3_ppo_variants.experiments.search_space.dimensions import (
    BandRatio,
    Choice,
    Complement,
    Dimension,
    Integer,
    Range,
)

SHADE = "#009E73"
FEWEST_TICKS, MOST_TICKS = 3, 7
MOST_INTEGERS = 12
MARGIN = 0.04


def documented_parameter(argument: str) -> Documented | None:
    """The documented hyperparameter behind an argument, ``None`` where nothing is documented.

    :param argument: Constructor's argument
    """
    return next((d for d in DOCUMENTED if d.argument == argument), None)


def parameter_label(argument: str, dimension: Dimension | None = None) -> str:
    """An argument with its symbol, where it has one: ``"ε (clip_range)"``.

    :param argument: Constructor's argument
    :param dimension: Its dimension, which may be a multiple of another argument
    """
    if isinstance(dimension, BandRatio):
        return dimension.parameter_name(argument)
    documented = documented_parameter(argument)
    return f"{documented.symbol} ({argument})" if documented else argument


def place(dimension: Dimension, value: Any) -> float | None:
    """Where a value lies on the axis; ``None`` for a value that the scale does not have.

    :param dimension: The axis
    :param value: The value
    """
    try:
        return dimension.place(value)
    except (TypeError, ValueError):
        return None


def documented_place(argument: str, dimension: Dimension) -> tuple[float, float] | None:
    """Where the documented range of an argument lies in a dimension; both ends are equal where only a default is known.

    :param argument: The argument
    :param dimension: Its dimension
    :return: Places (see :meth:`.Dimension.place`); ``None`` where nothing is documented, or the scale lacks it
    """
    found = documented_parameter(argument)
    if found is None:
        return None
    low = place(dimension, found.default if found.low is None else found.low)
    high = place(dimension, found.default if found.high is None else found.high)
    return None if low is None or high is None else (low, high)


def ticks(dimension: Dimension) -> list[tuple[float, str]]:
    """Round values of a dimension, at most seven unless it is a choice.

    :param dimension: The axis
    :return: (place, label), from the low end to the high end
    :raises TypeError: if it is neither a range nor a choice
    """
    if isinstance(dimension, Choice):
        return [(dimension.place(v), "none" if v is None else str(v)) for v in dimension.values]
    if not isinstance(dimension, Range):
        raise TypeError(f"An axis is a range or a choice, got {dimension!r}")
    low, high, whole = dimension.low, dimension.high, isinstance(dimension, Integer)
    if isinstance(dimension, Complement):
        values = [1 - x for x in reversed(_round_on_log_scale(1 - high, 1 - low))]
    elif dimension.distribution.log:
        values = [v for v in _round_on_log_scale(low, high) if not whole or v == round(v)]
    elif whole and high - low < MOST_INTEGERS:
        values = [float(v) for v in range(int(low), int(high) + 1)]
    else:
        values = [float(v) for v in MaxNLocator(nbins=MOST_TICKS - 1, integer=whole).tick_values(low, high)]
    slack = 1e-9 * (high - low)
    kept = [round(v, 10) for v in values if low - slack <= v <= high + slack]
    return [(dimension.place(v), f"{v:g}") for v in kept]


def set_axis(axes: Axes, argument: str, dimension: Dimension) -> None:
    """Make the horizontal axis of a picture that of a dimension, with what is documented drawn behind it.

    A range is shaded; a default is a dashed line.

    :param axes: The picture
    :param argument: Constructor's argument
    :param dimension: Its dimension
    """
    marks = ticks(dimension)
    axes.set_xticks([p for p, _ in marks], [label for _, label in marks])
    axes.set_xlim(-MARGIN, 1 + MARGIN)
    documented = documented_parameter(argument)
    axes.set_xlabel(parameter_label(argument, dimension))
    found = documented_place(argument, dimension)
    if documented is None or found is None:
        return
    low, high = (min(max(p, -MARGIN), 1 + MARGIN) for p in found)
    if documented.low is not None and high > low:
        label = f"documented range {documented.low:g} to {documented.high:g}"
        axes.axvspan(low, high, color=SHADE, alpha=0.16, linewidth=0, label=label, zorder=0)
    default = place(dimension, documented.default)
    if default is not None and 0 <= default <= 1:
        label = f"documented default {documented.default:g}"
        axes.axvline(default, color=SHADE, linestyle="--", linewidth=1.4, label=label, zorder=1)


def _round_on_log_scale(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; powers alone, or every second or third, where those would be too many; more
    multiples where they would be too few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    candidates = [[m * 10.0**e for e in exponents for m in (1, 2, 5)]]
    candidates += [[10.0**e for e in exponents if e % step == 0] for step in (1, 2, 3)]
    candidates += [[m * 10.0**e for e in exponents for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]]
    inside = [[v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)] for values in candidates]
    few = [values for values in inside if len(values) <= MOST_TICKS]
    return next((values for values in few if len(values) >= FEWEST_TICKS), max(few, key=len))
