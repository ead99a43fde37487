"""A tuning study's plan, trials and candidates, and how they are read from a ledger and written as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from optuna.trial import FrozenTrial

from sb3_ppo_variants.experiments.search_space.spaces import Dimension, dimension_from_json

Returns: TypeAlias = Mapping[str, Sequence[float]]
"""Environment → final return of each seed, in the order of the seeds."""

Curves: TypeAlias = Mapping[str, Sequence[Sequence[tuple[int, float | None]]]]
"""Environment → for each seed its learning curve, (timesteps, mean return of the last 100 episodes)."""


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """All that determines a tuning study.

    :param algorithm: Name of the algorithm (see :mod:`.registry`)
    :param environments: Gymnasium ids
    :param timesteps: Training steps of one run
    :param n_envs: Environments stepped together in a run
    :param seeds: Tuning seeds of a trial
    :param space: Argument → dimension
    :param fixed: Constructor settings that every trial has
    :param sampler: ``"tpe"``, ``"random"`` or ``"gp"``
    :param sampler_seed: Seed of the sampler
    :param aggregation: How a trial's returns become its score, see :mod:`.objective_scores`: ``"return"``,
        ``"normalised"`` or ``"ranks"``
    :param pruning: Whether unpromising trials are ended early (see :mod:`.pruning`)
    :param references: Environment → (random policy's return, reference return), used by ``"normalised"``
    """

    algorithm: str
    environments: tuple[str, ...]
    timesteps: int
    n_envs: int
    seeds: int
    space: Mapping[str, Dimension]
    fixed: Mapping[str, Any]
    sampler: str
    sampler_seed: int
    aggregation: str
    pruning: bool
    references: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; :meth:`from_json` reads it."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain["space"] = {argument: dimension.to_json() for argument, dimension in self.space.items()}
        found: dict[str, Any] = json.loads(json.dumps(plain))
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "StudyPlan":
        """The plan that :meth:`to_json` wrote."""
        return cls(
            **{
                **found,
                "environments": tuple(found["environments"]),
                "space": {argument: dimension_from_json(d) for argument, d in found["space"].items()},
                "references": {e: (float(r[0]), float(r[1])) for e, r in found["references"].items()},
            }
        )


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    :param number: Its place in the study; 0 is the documented defaults. Not Optuna's number
    :param optuna_number: Number of Optuna's trial that settled it
    :param state: ``"done"``, ``"pruned"`` or ``"failed"``
    :param values: Argument → value of every searched dimension
    :param settings: What the constructor was given
    :param returns: Final returns on the tuning seeds; empty when it failed, incomplete when it was pruned
    :param score: Its score, computed from the returns; ``None`` unless it is done
    :param reason: Why it failed (``"nan: …"``, ``"config: …"``, ``"env: …"``, ``"timeout: …"``) or was pruned
    :param seconds: Wall time
    :param reused: Number of the trial with the same settings whose returns it has
    :param curves: Learning curves, thinned
    :param versions: Software that made it
    """

    number: int
    optuna_number: int
    state: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    returns: Returns
    score: float | None
    reason: str | None
    seconds: float
    reused: int | None
    curves: Curves
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Settings that were run again on test seeds: one of the best, or the defaults.

    :param name: ``"defaults"``, or ``"trial 7"``
    :param settings: What the constructor was given
    :param values: Argument → value of every searched dimension
    :param returns: Final returns on the test seeds
    :param failed: Environment → reasons of the runs that failed
    """

    name: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    returns: Returns
    failed: Mapping[str, Sequence[str]]

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON values."""
        return dataclasses.asdict(self)


def done(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that have a score."""
    return [t for t in trials if t.state == "done"]


# User attributes of the study.
PLAN, TIMEOUT = "plan", "trial_timeout"


def proposed(trial: FrozenTrial, plan: StudyPlan) -> dict[str, Any] | None:
    """The value of each dimension in one of Optuna's trials.

    :param trial: The trial
    :param plan: The study
    :return: Argument → value; ``None`` when it ended before anything was proposed
    """
    if any(d.parameter_name(a) not in trial.params for a, d in plan.space.items()):
        return None
    return {a: d.value(trial.params[d.parameter_name(a)]) for a, d in plan.space.items()}
