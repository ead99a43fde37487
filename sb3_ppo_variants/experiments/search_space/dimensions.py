"""The kinds of dimension that a search space is made of, on Optuna's distributions.

A dimension has three representations: the *parameter* is what Optuna proposes and stores, the *value* is what people
read (``1 - gae_lambda`` is proposed, ``gae_lambda`` is read), and the *setting* is what the constructor is given
(``clip_range_high`` is searched as a multiple of ``clip_range``). Bounds and scales of parameters are those of
:attr:`Dimension.distribution`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sb3_ppo_variants.experiments.runs.registry import did_you_mean

Settings: TypeAlias = Mapping[str, Any]


def is_number(value: Any) -> bool:
    """Whether something is a finite number."""
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The range of one constructor argument."""

    kind: ClassVar[str]

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna proposes from."""
        raise NotImplementedError

    def parameter_name(self, argument: str) -> str:
        """Name of Optuna's parameter.

        :param argument: The constructor's argument
        """
        return argument

    def suggest(self, trial: optuna.Trial, argument: str) -> Any:
        """Let Optuna propose a value; a trial that already has one keeps it.

        :param trial: The trial
        :param argument: The constructor's argument
        :return: The value
        :raises TypeError: if the dimension's distribution is not of floats, integers or choices
        """
        name, found = self.parameter_name(argument), self.distribution
        if isinstance(found, FloatDistribution):
            return self.value(trial.suggest_float(name, found.low, found.high, log=found.log))
        if isinstance(found, IntDistribution):
            return self.value(trial.suggest_int(name, found.low, found.high, log=found.log))
        if isinstance(found, CategoricalDistribution):
            return self.value(trial.suggest_categorical(name, found.choices))
        raise TypeError(f"Optuna's trials suggest floats, integers and choices, not {found!r}")

    def value(self, parameter: Any) -> Any:
        """The value for a parameter that Optuna proposed."""
        return parameter

    def parameter(self, value: Any) -> Any:
        """Optuna's parameter for a value; the inverse of :meth:`value`."""
        return value

    def contains(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        raise NotImplementedError

    def place(self, value: Any) -> float:
        """Where a value lies in the range on the scale that is searched: 0 at the low end, 1 at the high end."""
        raise NotImplementedError

    def count(self) -> int | None:
        """How many values there are; ``None`` for infinitely many."""
        return None

    def extremes(self) -> tuple[Any, ...]:
        """The values that a constructor has to take if it takes those in between: both ends, or every choice."""
        raise NotImplementedError

    def describe(self) -> str:
        """The dimension in words: ends and scale, or the values."""
        raise NotImplementedError

    def setting(self, value: Any, settings: Settings) -> Any:
        """What the constructor is given for a value.

        :param value: The value
        :param settings: All other settings
        """
        return value

    def from_setting(self, setting: Any, settings: Settings) -> Any:
        """The value for what the constructor is given; the inverse of :meth:`setting`. ``None`` where it has none."""
        return setting

    def to_json(self) -> dict[str, Any]:
        """The dimension as JSON values; :func:`dimension_from_json` reads it."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Range(Dimension):
    """Numbers between two ends, both included.

    :param low: Lower end
    :param high: Upper end
    """

    unit: ClassVar[str] = ""
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high)):
            raise TypeError(f"A range has numbers as ends, got low={self.low!r} and high={self.high!r}")
        if not self.low < self.high:
            raise ValueError(
                f"A range has low < high, got low={self.low!r} and high={self.high!r}; fix one value with --set"
            )
        if getattr(self, "log", False) and self.low <= 0:
            raise ValueError(
                f"A range on a logarithmic scale starts above 0, got low={self.low!r}: raise it, or log=false"
            )

    @property
    def distribution(self) -> FloatDistribution | IntDistribution:
        raise NotImplementedError

    def contains(self, value: Any) -> bool:
        return is_number(value) and self.distribution._contains(self.parameter(value))

    def place(self, value: Any) -> float:
        found = self.distribution
        x, low, high = self.parameter(value), found.low, found.high
        if found.log:
            x, low, high = math.log(x), math.log(low), math.log(high)
        return float((x - low) / (high - low))

    def extremes(self) -> tuple[Any, ...]:
        return self.low, self.high

    def describe(self) -> str:
        scale = ", logarithmic scale" if self.distribution.log else ""
        return f"{self.low:g} to {self.high:g}{self.unit}{scale}"


@dataclasses.dataclass(frozen=True)
class Real(Range):
    """A number between two ends.

    :param low: Lower end
    :param high: Upper end
    :param log: Search its logarithm
    """

    kind: ClassVar[str] = "real"
    log: bool = False

    @cached_property
    def distribution(self) -> FloatDistribution:
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclasses.dataclass(frozen=True)
class BandRatio(Real):
    """``clip_range_high`` as a multiple of ``clip_range``, searched on a logarithmic scale.

    Its value is the multiple. The multiple 1 is the symmetric band, which the constructor calls ``None``.

    :param low: Least multiple
    :param high: Greatest multiple
    """

    kind: ClassVar[str] = "band_ratio"
    unit: ClassVar[str] = " × clip_range"
    log: bool = True

    def parameter_name(self, argument: str) -> str:
        return f"{argument} / clip_range"

    def setting(self, value: Any, settings: Settings) -> Any:
        return None if value == 1 else value * settings["clip_range"]

    def from_setting(self, setting: Any, settings: Settings) -> Any:
        clip_range = settings.get("clip_range")
        if not is_number(clip_range) or not (setting is None or is_number(setting)):
            return None  # a schedule neither has a multiple nor is one
        return 1.0 if setting is None else setting / clip_range

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "low": self.low, "high": self.high}


@dataclasses.dataclass(frozen=True)
class Complement(Range):
    """A number x below 1 whose distance to 1 is searched on a logarithmic scale: Optuna's parameter is 1 - x.

    For λ and γ, where 0.99 is as far from 0.9 as 0.999 is from 0.99: 1 / (1 - x) is a number of steps.

    :param low: Lower end of x, at least 0
    :param high: Upper end of x, below 1
    """

    kind: ClassVar[str] = "complement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low < 0 or self.high >= 1:
            raise ValueError(
                f"A complement's range starts at 0 or above and ends below 1, because the distance to 1 is searched; "
                f"got low={self.low!r} and high={self.high!r}"
            )

    @cached_property
    def distribution(self) -> FloatDistribution:
        return FloatDistribution(1 - self.high, 1 - self.low, log=True)

    def parameter_name(self, argument: str) -> str:
        return f"1 - {argument}"

    def value(self, parameter: Any) -> Any:
        return 1 - parameter

    def parameter(self, value: Any) -> Any:
        return 1 - value

    def place(self, value: Any) -> float:
        return 1 - super().place(value)

    def describe(self) -> str:
        return f"{self.low:g} to {self.high:g}, 1 − x on a logarithmic scale"


@dataclasses.dataclass(frozen=True)
class Integer(Range):
    """A whole number between two ends, both included.

    :param low: Lower end
    :param high: Upper end
    :param log: Search its logarithm
    """

    kind: ClassVar[str] = "integer"
    unit: ClassVar[str] = ", whole numbers"
    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise TypeError(f"An integer's range has whole ends, got low={self.low!r} and high={self.high!r}: use real")

    @cached_property
    def distribution(self) -> IntDistribution:
        return IntDistribution(self.low, self.high, log=self.log)

    def count(self) -> int | None:
        return self.high - self.low + 1


@dataclasses.dataclass(frozen=True)
class Choice(Dimension):
    """One of several values.

    :param values: Numbers, strings, booleans, ``None``, or lists and dicts of these
    """

    kind: ClassVar[str] = "choice"
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence) or not self.values:
            raise TypeError(f"A choice is a list of at least one value, got {self.values!r}")
        object.__setattr__(self, "values", tuple(self.values))
        if len({_canonical(v) for v in self.values}) < len(self.values):
            raise ValueError(f"A choice lists each value once, got {list(self.values)!r}")

    @cached_property
    def distribution(self) -> CategoricalDistribution:
        return CategoricalDistribution([self.parameter(v) for v in self.values])

    def parameter(self, value: Any) -> Any:
        # Optuna stores numbers, strings, booleans and None; anything else is stored as its JSON text.
        return value if value is None or isinstance(value, bool | int | float | str) else _canonical(value)

    def value(self, parameter: Any) -> Any:
        return self.values[self._index(self.distribution.choices, parameter)]

    def contains(self, value: Any) -> bool:
        return any(own is value or _canonical(own) == _canonical(value) for own in self.values)

    def place(self, value: Any) -> float:
        return self._index(self.values, value) / max(1, len(self.values) - 1)

    def _index(self, among: Sequence[Any], wanted: Any) -> int:
        # Optuna's own search takes True for 1.
        for index, one in enumerate(among):
            if _canonical(one) == _canonical(wanted):
                return index
        raise ValueError(f"{wanted!r} is none of {list(self.values)!r}")

    def count(self) -> int | None:
        return len(self.values)

    def extremes(self) -> tuple[Any, ...]:
        return self.values

    def describe(self) -> str:
        return "one of " + ", ".join("none" if v is None else str(v) for v in self.values)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "values": list(self.values)}


KINDS: Mapping[str, type[Dimension]] = {d.kind: d for d in (Real, Complement, Integer, Choice, BandRatio)}


def dimension_from_json(found: Any) -> Dimension:
    """A dimension from its JSON form.

    :param found: ``{"kind": "real", "low": 0.05, "high": 0.4, "log": true}`` and the like, or a list for a choice
    :raises ValueError: when it is none; the message says what is missing
    """
    if isinstance(found, list | tuple):
        return Choice(tuple(found))
    if not isinstance(found, Mapping):
        raise ValueError(f"A dimension is a list of values, or kind with low and high, got {found!r}")
    kind = str(found.get("kind"))
    if kind not in KINDS:
        raise ValueError(f"A dimension's kind is one of {', '.join(KINDS)}, got {kind!r}.{did_you_mean(kind, KINDS)}")
    made = KINDS[kind]
    fields = {f.name: f for f in dataclasses.fields(made)}
    given = {key: value for key, value in found.items() if key != "kind"}
    if unknown := [key for key in given if key not in fields]:
        raise ValueError(f"{kind} has {', '.join(fields)}, not {unknown[0]!r}.{did_you_mean(unknown[0], fields)}")
    missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in given]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}, got {given}")
    return made(**given)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
