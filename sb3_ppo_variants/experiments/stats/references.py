"""What a return means: the random policy's return and a reference return of each environment, with their sources.

The numbers are in ``references.json``, which :mod:`sb3_ppo_variants.experiments.runs.measure_references` writes.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FILE = Path(__file__).with_name("references.json")


class Reference(NamedTuple):
    """The scale of an environment's returns.

    :param random: Mean return of the uniform random policy
    :param reference: A return that counts as 1
    :param source: Where the reference comes from
    :param untrained: Mean return of SB3's policy networks before any training
    """

    random: float
    reference: float
    source: str
    untrained: float


def reference_returns(environment: str) -> Reference | None:
    """The scale of an environment's returns, ``None`` for an environment that is not in ``references.json``.

    :param environment: Gymnasium id
    """
    found = _shipped().get(environment)
    return None if found is None else Reference(**{name: found[name] for name in Reference._fields})


def reference_pairs(environments: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Random and reference return of each environment that has them.

    :param environments: Gymnasium ids
    :return: Environment → (random, reference)
    """
    found = {environment: reference_returns(environment) for environment in environments}
    return {environment: (r.random, r.reference) for environment, r in found.items() if r is not None}


def normalise(
    returns: ArrayLike, environment: str, references: Mapping[str, tuple[float, float]] | None = None
) -> NDArray[np.float64]:
    """(returns − random) / (reference − random): 0 for the random policy, 1 for the reference.

    :param returns: Any shape
    :param environment: Gymnasium id
    :param references: Environment → (random, reference); by default the shipped ones
    :return: Same shape
    :raises ValueError: for an environment without a reference
    """
    pairs = reference_pairs([environment]) if references is None else references
    if environment not in pairs:
        raise ValueError(
            f"There is no reference return for {environment!r}, so its returns cannot be normalised: known are "
            f"{', '.join(_shipped() if references is None else references)}. Compare ranks instead"
        )
    random, reference = pairs[environment]
    return (np.asarray(returns, dtype=np.float64) - random) / (reference - random)


@functools.cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    environments: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["environments"]
    return environments
