"""The rows of a comparison: an algorithm with settings, under a name of its own where it takes part more than once."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.runs.registry import algorithm_name, did_you_mean
from sb3_ppo_variants.experiments.runs.settings import check_settings, run_settings

_NAMED = re.compile(r"([\w.-]+)=(.+)")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One row.

    :param name: What it is called; an algorithm's name, or one of its own
    :param algorithm: The algorithm's name
    :param settings: What its constructor is given
    :param normalize: Arguments of ``VecNormalize`` around its environments; ``None``: not normalised
    """

    name: str
    algorithm: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    normalize: Mapping[str, Any] | None = None


def contestants(
    algorithms: Iterable[str | type[BaseAlgorithm]],
    settings: Mapping[str, Mapping[str, Any]],
    peer_defaults: bool = False,
    normalize: Mapping[str, Any] | None = None,
) -> list[Contestant]:
    """The rows that a user asked for.

    :param algorithms: Names or classes (see :mod:`.registry`); ``NAME=ALGORITHM`` gives a row a name of its own, so
        that one algorithm can take part with several settings
    :param settings: Row → constructor argument → value
    :param peer_defaults: Leave peers at their own defaults instead of giving them our documented settings
    :param normalize: See :class:`Contestant`
    """
    asked = [algorithms] if isinstance(algorithms, str | type) else list(algorithms)
    rows: dict[str, str] = {}
    for one in asked:
        named = _NAMED.fullmatch(one) if isinstance(one, str) else None
        algorithm = algorithm_name(one if named is None else named[2])
        name = algorithm if named is None else named[1]
        if rows.setdefault(name, algorithm) != algorithm:
            raise ValueError(f"Two rows are called {name!r}: give each a name of its own, NAME={algorithm}")
    refuse_unknown(settings, rows)
    return [
        Contestant(name, algorithm, run_settings(algorithm, settings.get(name, {}), peer_defaults), normalize)
        for name, algorithm in rows.items()
    ]


def refuse_unknown(settings: Mapping[str, Any], rows: Iterable[str]) -> None:
    """Raise if settings are given for a row that is not in the comparison.

    :param settings: Row → anything
    :param rows: Names of the rows
    """
    known = list(rows)
    for owner in settings:
        if owner not in known:
            raise ValueError(
                f"Settings are given for {owner!r}, which is not in the comparison: {', '.join(known)}."
                f"{did_you_mean(owner, known)}"
            )


def with_settings(rows: Iterable[Contestant], settings: Mapping[str, Mapping[str, Any]]) -> list[Contestant]:
    """Rows with some settings changed.

    :param rows: The rows
    :param settings: Row → constructor argument → value
    """
    kept = list(rows)
    refuse_unknown(settings, [row.name for row in kept])
    return [
        dataclasses.replace(row, settings={**row.settings, **check_settings(row.algorithm, settings.get(row.name, {}))})
        for row in kept
    ]
