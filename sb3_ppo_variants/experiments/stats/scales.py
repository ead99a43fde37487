"""Scales on which returns of different environments can be averaged: what counts as 0 there, and what as 1."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sb3_ppo_variants.experiments.engine.records import Record, scores
from sb3_ppo_variants.experiments.stats.references import reference_returns


@dataclasses.dataclass(frozen=True)
class Scale:
    """One affine scale an environment.

    :param zero: What counts as 0, in words
    :param one: What counts as 1, in words
    :param ends: Environment → the returns that count as 0 and as 1
    """

    zero: str
    one: str
    ends: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """The scale in words."""
        return f"{self.zero} 0, {self.one} 1"

    def sample(self, rows: Sequence[Record], name: str, environment: str) -> NDArray[np.float64]:
        """Scaled scores of one row's finished runs in one environment.

        :param rows: The comparison
        :param name: The row
        :param environment: Gymnasium id
        """
        zero, one = self.ends[environment]
        return (np.asarray(scores(rows, name, environment), dtype=np.float64) - zero) / (one - zero)

    def samples(self, rows: Sequence[Record], name: str) -> list[NDArray[np.float64]]:
        """Scaled scores of one row, one sample for each of the scale's environments.

        :param rows: The comparison
        :param name: The row
        """
        return [self.sample(rows, name, environment) for environment in self.ends]


def shipped_scale(environments: Sequence[str]) -> Scale | None:
    """0 the uniform random policy, 1 the shipped reference; ``None`` unless every environment has them.

    :param environments: Gymnasium ids
    """
    known = {environment: reference_returns(environment) for environment in environments}
    ends = {environment: (found.random, found.reference) for environment, found in known.items() if found is not None}
    return Scale("random policy", "reference", ends) if len(ends) == len(environments) else None


def paper_scales(rows: Sequence[Record], names: Sequence[str], environments: Sequence[str]) -> list[Scale]:
    """The scale of the PPO paper's Table 1, in its four readings: 0 is "the random policy" (uniform actions, or the
    network before training), 1 is "the best result" (the best run, or the best row's mean).

    :param rows: The comparison
    :param names: The rows among which the best is looked for; each has a finished run in each environment
    :param environments: Gymnasium ids that have reference returns
    """
    tops: dict[str, dict[str, float]] = {"best run": {}, "best row's mean": {}}
    bottoms: dict[str, dict[str, float]] = {"uniform actions": {}, "untrained networks": {}}
    for environment in environments:
        found = [scores(rows, name, environment) for name in names]
        tops["best run"][environment] = max(max(sample) for sample in found)
        tops["best row's mean"][environment] = max(float(np.mean(sample)) for sample in found)
        reference = reference_returns(environment)
        if reference is None:
            raise ValueError(f"There is no return of a random policy for {environment!r}")
        bottoms["uniform actions"][environment] = reference.random
        bottoms["untrained networks"][environment] = reference.untrained
    return [
        Scale(zero, one, {e: (bottoms[zero][e], tops[one][e]) for e in environments})
        for zero in bottoms
        for one in tops
    ]
