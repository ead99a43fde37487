"""The variants of a comparison: algorithms with settings, each under a name."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.experiments.runs.registry import algorithm_name, did_you_mean
from sb3_ppo_variants.experiments.runs.run import Run
from sb3_ppo_variants.experiments.runs.settings import (
    EVERY,
    full_settings,
    merged,
    run_settings,
    settings_of_variant,
    without_update,
)

_NAMED = re.compile(r"([\w.-]+)=(.+)")


@dataclasses.dataclass(frozen=True)
class Variant:
    """An algorithm with settings under a name.

    :param name: The algorithm's name, or a name of its own
    :param algorithm: The algorithm's name
    :param settings: Constructor argument → value
    :param normalize: Arguments of ``VecNormalize`` around its environments; ``None``: not normalised
    """

    name: str
    algorithm: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    normalize: Mapping[str, Any] | None = None


def variants(
    algorithms: Iterable[str | type[BaseAlgorithm]],
    settings: Mapping[str, Mapping[str, Any]],
    peer_defaults: bool = False,
    normalize: Mapping[str, Any] | None = None,
) -> list[Variant]:
    """The variants that a user asked for.

    :param algorithms: Names or classes (see :mod:`.registry`). ``NAME=ALGORITHM`` gives a variant a name of its own,
        such that one algorithm can be compared with several settings
    :param settings: Variant, or ``"*"`` for all of them, → constructor argument → value
    :param peer_defaults: Leave peers at their own defaults instead of giving them our documented settings
    :param normalize: See :class:`Variant`
    :raises ValueError: for an unknown algorithm or setting, a name given twice, or settings of an unknown variant
    """
    asked = [algorithms] if isinstance(algorithms, str | type) else list(algorithms)
    algorithm_of: dict[str, str] = {}
    for one in asked:
        named = _NAMED.fullmatch(one) if isinstance(one, str) else None
        algorithm = algorithm_name(one if named is None else named[2])
        name = algorithm if named is None else named[1]
        if algorithm_of.setdefault(name, algorithm) != algorithm:
            raise ValueError(f"Two variants are called {name!r}: give each a name of its own, NAME={algorithm}")
    _refuse_unknown(settings, algorithm_of)
    return [
        Variant(
            name,
            algorithm,
            run_settings(algorithm, settings_of_variant(name, algorithm, settings), peer_defaults),
            normalize,
        )
        for name, algorithm in algorithm_of.items()
    ]


def with_settings(chosen: Iterable[Variant], settings: Mapping[str, Mapping[str, Any]]) -> list[Variant]:
    """Variants with some settings changed.

    :param chosen: The variants
    :param settings: Variant, or ``"*"`` for all of them, → constructor argument → value
    :raises ValueError: for an unknown setting, or settings of an unknown variant
    """
    kept = list(chosen)
    _refuse_unknown(settings, [v.name for v in kept])
    return [
        dataclasses.replace(v, settings=merged(v.settings, settings_of_variant(v.name, v.algorithm, settings)))
        for v in kept
    ]


def with_own_settings(compared: Iterable[Variant], settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the variants that have settings of the user's.

    :param compared: The variants
    :param settings: Variant, or ``"*"`` for all of them, → constructor argument → value
    """
    return [variant.name for variant in compared if variant.name in settings or EVERY in settings]


def _refuse_unknown(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    known = list(names)
    for owner in settings:
        if owner not in (*known, EVERY):
            raise ValueError(
                f"Settings are given for {owner!r}, which is not in the comparison: {', '.join(known)}."
                f"{did_you_mean(owner, known)}"
            )


def untrained(runs: Sequence[Run]) -> list[str]:
    """For each variant whose runs end before the first update, a warning.

    :param runs: The runs
    """
    first = {run.variant: run for run in reversed(runs)}
    full = {name: full_settings(run.algorithm, run.settings) for name, run in first.items()}
    notes = {name: without_update(full[name].get("n_steps"), run.n_envs, run.timesteps) for name, run in first.items()}
    return [f"{name}: {note}" for name, note in reversed(notes.items()) if note is not None]
