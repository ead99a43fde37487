"""The points of a sensitivity study: the values of each parameter, and the returns at each value."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sb3_ppo_variants.experiments.runs.registry import did_you_mean
from sb3_ppo_variants.experiments.runs.settings import constructor_parameters, full_settings
from sb3_ppo_variants.experiments.search_space.dimensions import is_number
from sb3_ppo_variants.experiments.stats import estimators
from sb3_ppo_variants.experiments.stats.intervals import Interval, corrected_level

# The documented ranges, and beyond both ends of them. 1 − λ halves or so from point to point; c₁ and c₂ include 0.
# Then those of the KL penalty (β is the start value where it adapts) and of TRPO (δ, conjugate gradients).
POINTS: Mapping[str, tuple[float, ...]] = {
    "clip_range": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    "n_epochs": (1, 3, 5, 10, 15, 20),
    "gae_lambda": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    "vf_coef": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0),
    "ent_coef": (0.0, 0.001, 0.003, 0.01, 0.03, 0.1),
    "adaptive_kl_target": (0.001, 0.003, 0.01, 0.03, 0.1),
    "kl_tolerance": (1.0, 1.2, 1.5, 2.0, 3.0),
    "kl_coef": (0.1, 0.3, 1.0, 3.0, 10.0),
    "target_kl": (0.001, 0.003, 0.01, 0.03, 0.1),
    "cg_damping": (0.001, 0.01, 0.1, 0.3, 1.0),
    "cg_max_steps": (2, 5, 10, 15, 30),
}


@dataclasses.dataclass(frozen=True)
class Difference:
    """How the returns at one value differ from those at the default.

    :param value: Of IQMs, or of means where either has fewer than 5 runs, see :func:`.estimators.mean_difference`
    :param interval: Its interval; ``None`` where :func:`.estimators.difference_interval` has none
    :param level: Level of the interval: those of all values of a parameter in an environment hold jointly with 95 %
        confidence (Bonferroni)
    """

    value: float
    interval: Interval | None
    level: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of one parameter in one environment.

    :param environment: Gymnasium id
    :param argument: The parameter
    :param value: Its value
    :param default: Whether that is its default: the same runs for every parameter
    :param returns: Final returns of the runs that finished, in the order of the seeds
    :param failed: Reasons of those that failed
    :param difference: From the default; ``None`` for the default itself, and where either has no returns
    """

    environment: str
    argument: str
    value: Any
    default: bool
    returns: tuple[float, ...]
    failed: tuple[str, ...]
    difference: Difference | None = None

    @property
    def center(self) -> float | None:
        """IQM of the returns (mean below 5); ``None`` without any."""
        return float(estimators.center(self.returns)) if self.returns else None

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, see :func:`.estimators.center_interval`."""
        return estimators.center_interval(self.returns) if self.returns else None


def grid(
    algorithm: str, settings: Mapping[str, Any], parameters: Iterable[str] | None, points: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """The values of each parameter, the default among them, from the lowest to the highest.

    :param algorithm: Name of the algorithm
    :param settings: What every run passes to the constructor
    :param parameters: See :func:`.sensitivity`
    :param points: See :func:`.sensitivity`
    :return: Parameter → values
    :raises ValueError: without parameters, for one that the algorithm does not take, or for points that are no numbers
    """
    takes, defaults = constructor_parameters(algorithm), full_settings(algorithm, settings)
    own = [p for p in POINTS if p in takes and _is_on(p, defaults.get(p))]
    wanted = own if parameters is None else list(dict.fromkeys(parameters))
    wanted += [p for p in points if p not in wanted]
    if not wanted:
        raise ValueError(f"{algorithm} has none of {', '.join(POINTS)}: name parameters of its own, and their points")
    found = {}
    for parameter in wanted:
        if parameter not in takes:
            raise ValueError(f"{algorithm} takes no argument {parameter!r}.{did_you_mean(parameter, takes)}")
        given = points.get(parameter, POINTS.get(parameter))
        default = defaults.get(parameter)
        if given is None or not all(is_number(v) for v in (*given, default)):
            raise ValueError(
                f"The points of {parameter!r} must be numbers, as its default must be, got {given!r} around "
                f"{default!r}: points={{{parameter!r}: [0.1, 0.2]}}"
            )
        found[parameter] = sorted({*given, default})
        if len(found[parameter]) < 2:
            raise ValueError(f"{parameter!r} has no point besides its default {default!r}")
    return found


def with_differences(points: Sequence[Point]) -> list[Point]:
    """
    :param points: The default among them, in each environment and for each parameter
    :return: The same points, with their differences from the default
    """
    return [dataclasses.replace(point, difference=_difference(point, points)) for point in points]


def _difference(point: Point, points: Sequence[Point]) -> Difference | None:
    beside = [p for p in points if (p.environment, p.argument) == (point.environment, point.argument)]
    default = next(p for p in beside if p.default)
    if point.default or not point.returns or not default.returns:
        return None
    pairs, level = [(point.returns, default.returns)], corrected_level(len(beside) - 1)
    return Difference(estimators.mean_difference(pairs), estimators.difference_interval(pairs, level), level)


def _is_on(parameter: str, default: Any) -> bool:
    """Whether a parameter does something by default: ClipPPO's ``target_kl`` is ``None`` and its ``kl_coef`` 0."""
    return is_number(default) and (default != 0 or 0 in POINTS[parameter])
