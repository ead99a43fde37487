"""Scales on which returns of different environments can be averaged: which return counts as 0, and which as 1."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sb3_ppo_variants.experiments.stats.references import normalise, reference_pairs, reference_returns

#: Environment → final returns of the runs of one variant there.
Scores = Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """An affine scale for each environment.

    :param zero: What counts as 0, in words
    :param one: What counts as 1, in words
    :param ends: Environment → the returns that count as 0 and as 1
    :param conditional: Whether the runs themselves set an end: intervals do not hold that end's own luck
    """

    zero: str
    one: str
    ends: Mapping[str, tuple[float, float]]
    conditional: bool = False

    @property
    def name(self) -> str:
        """The scale in words."""
        return f"{self.zero} 0, {self.one} 1"

    @property
    def title(self) -> str:
        """The scale in words, with what has to be said beside scores on it."""
        return f"{self.name}; conditional on the scale" if self.conditional else self.name

    def samples(self, scores: Scores) -> list[NDArray[np.float64]]:
        """The scores of one variant on this scale, one sample (n,) for each environment of the scale.

        :param scores: Environment → final returns
        """
        return [normalise(scores[environment], environment, self.ends) for environment in self.ends]


def shipped_scale(environments: Sequence[str]) -> Scale | None:
    """0 the uniform random policy, 1 the shipped reference; ``None`` unless every environment has them.

    :param environments: Gymnasium ids
    """
    ends = reference_pairs(environments)
    return Scale("random policy", "reference", ends) if len(ends) == len(environments) else None


def paper_scales(variants: Sequence[Scores], environments: Sequence[str]) -> list[Scale]:
    """The scale of the PPO paper's Table 1, in its four readings: 0 is "the random policy" (uniform actions, or the
    network before training), 1 is "the best result" (the best run, or the best row's mean). Environments are left out
    in which the latter is not above the former in each reading: nothing has been learnt there.

    :param variants: Scores of the variants among which the best is sought; each has a run in each environment
    :param environments: Gymnasium ids that have reference returns
    :return: The scales; empty if no environment is left
    """
    tops: dict[str, dict[str, float]] = {"best run": {}, "best row's mean": {}}
    bottoms: dict[str, dict[str, float]] = {"uniform actions": {}, "untrained networks": {}}
    for environment in environments:
        found = [scores[environment] for scores in variants]
        tops["best run"][environment] = max(max(sample) for sample in found)
        tops["best row's mean"][environment] = max(float(np.mean(sample)) for sample in found)
        reference = reference_returns(environment)
        assert reference is not None
        bottoms["uniform actions"][environment] = reference.random
        bottoms["untrained networks"][environment] = reference.untrained
    sound = [e for e in environments if max(low[e] for low in bottoms.values()) < tops["best row's mean"][e]]
    return [
        Scale(zero, one, {e: (bottoms[zero][e], tops[one][e]) for e in sound}, conditional=True)
        for zero in bottoms
        for one in tops
        if sound
    ]
