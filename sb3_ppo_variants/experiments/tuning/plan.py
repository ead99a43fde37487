"""The plan of a study: all that determines it, and how it is made from what the user asked for."""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ppo_variants.checks import integer
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.registry import algorithm_name, did_you_mean
from sb3_ppo_variants.experiments.runs.run import Run, check_by_building
from sb3_ppo_variants.experiments.runs.seeds import check_n_envs, tuning_seeds
from sb3_ppo_variants.experiments.runs.settings import (
    check_settings,
    constructor_parameters,
    full_settings,
    parse_value,
    run_settings,
)
from sb3_ppo_variants.experiments.search_space.dimensions import BandRatio, Dimension, dimension_from_json, is_number
from sb3_ppo_variants.experiments.search_space.spaces import Space, default_space, read_space, settings_of, values_of
from sb3_ppo_variants.experiments.stats.references import reference_pairs
from sb3_ppo_variants.experiments.tuning.metric import METRICS, Metric, choose_metric
from sb3_ppo_variants.experiments.tuning.samplers import check_sampler


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
    :param aggregation: Name of the metric: ``"return"``, ``"normalised"`` or ``"ranks"``
    :param pruning: Whether unpromising trials are ended early (see :mod:`.pruning`)
    :param references: Environment → (random policy's return, reference return), used by the metric ``"normalised"``
    :param vec_env: Class of the vectorised environment (see :class:`.run.Run`)
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
    vec_env: str | None = None

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

    @cached_property
    def metric(self) -> Metric:
        """What a trial scores, and how candidates are compared."""
        return METRICS[self.aggregation](self.environments, self.references)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Every constructor argument in trial 0."""
        return full_settings(self.algorithm, run_settings(self.algorithm, self.fixed))

    def default_values(self) -> dict[str, Any]:
        """The value of each dimension in trial 0."""
        return values_of(self.space, self.defaults)

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The searched arguments as the constructor takes them, so that they can be copied.

        :param values: The values of dimensions, of which some are multiples of another argument
        """
        space = {argument: dimension for argument, dimension in self.space.items() if argument in values}
        return settings_of(space, {argument: values[argument] for argument in space}, self.defaults)

    def passed(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial passes to the constructor.

        :param number: The trial's number; trial 0 passes the fixed settings alone
        :param values: The value of each dimension
        """
        tuned = {} if number == 0 else self.arguments(values)
        return run_settings(self.algorithm, {**self.fixed, **tuned})

    def identity(self, settings: Mapping[str, Any]) -> str:
        """Equal for two settings that give the same constructor call, whether a default is written out or not.

        :param settings: What a trial passes
        """
        return json.dumps(self.defaults | dict(settings), sort_keys=True, default=repr)

    def runs(self, settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Run]:
        """The runs of given settings, in the order in which a trial does them.

        :param settings: What is passed to the constructor
        :param seeds: Their seeds
        """
        return [
            Run(self.algorithm, environment, seed, self.timesteps, self.n_envs, settings, vec_env=self.vec_env)
            for seed in seeds
            for environment in self.environments
        ]


def make_plan(
    algorithm: str | type[BaseAlgorithm],
    environments: str | Iterable[str],
    *,
    timesteps: int,
    n_envs: int,
    seeds: int,
    space: Space | str | Path | None,
    only: Iterable[str],
    settings: Mapping[str, Any],
    sampler: str,
    sampler_seed: int,
    references: Mapping[str, tuple[float, float]],
    pruning: bool,
    vec_env: str | None = None,
) -> StudyPlan:
    """A study's plan, or a clear error; see :func:`.study.tune` for the arguments.

    :raises ValueError: for a mistake in the arguments
    """
    name = algorithm_name(algorithm)
    wanted = tuple(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not wanted:
        raise ValueError("A study needs an environment: give a Gymnasium id")
    for environment in wanted:
        check_environment(environment)
    check_n_envs(n_envs)
    tuning_seeds(seeds)
    integer(at_least=0)("sampler_seed", sampler_seed)
    fixed = check_settings(name, settings)
    start = run_settings(name, fixed)
    # A mistake in the fixed settings is reported here, not by the first trial.
    check_by_building(Run(name, wanted[0], 0, timesteps, n_envs, start))
    own = read_space(space) if isinstance(space, str | Path) else space
    if own is not None:
        _check_space(name, own, fixed, full_settings(name, start))
    asked = tuple(only)
    known = _references(wanted, references)
    plan = StudyPlan(
        algorithm=name,
        environments=wanted,
        # numpy's integers are no JSON
        timesteps=int(timesteps),
        n_envs=int(n_envs),
        seeds=int(seeds),
        space=_searched(name, default_space(name, start, n_envs, asked) if own is None else own, asked, fixed),
        fixed=fixed,
        sampler=check_sampler(sampler),
        sampler_seed=int(sampler_seed),
        aggregation=choose_metric(wanted, known).name,
        pruning=pruning,
        references=known,
        vec_env=vec_env,
    )
    if own is not None:
        _check_extremes(plan)
    return plan


def first_difference(kept: StudyPlan, asked: StudyPlan) -> str | None:
    """The first thing in which two plans differ, in words; ``None`` when they are equal.

    :param kept: The plan in the ledger
    :param asked: The plan of the command
    """
    left, right = kept.to_json(), asked.to_json()
    for name in left:
        if left[name] == right[name]:
            continue
        if isinstance(left[name], dict):
            name_inside = next(k for k in {**left[name], **right[name]} if left[name].get(k) != right[name].get(k))
            there, here = left[name].get(name_inside, "nothing"), right[name].get(name_inside, "nothing")
            return f"{name} has {there} for {name_inside}, the command {here}"
        return f"{name} is {left[name]}, the command's {right[name]}"
    if list(left["space"]) != list(right["space"]):
        return f"the space is in the order {', '.join(left['space'])}, the command's {', '.join(right['space'])}"
    return None


def parse_references(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``--reference`` options.

    :param texts: ``ENV=RANDOM,REFERENCE`` each
    :return: Environment → (random, reference)
    :raises ValueError: for a text of another form
    """
    found = {}
    for text in texts:
        environment, equals, numbers = text.rpartition("=")
        pair = [parse_value(part) for part in numbers.split(",")]
        if not (equals and environment) or len(pair) != 2 or not all(isinstance(x, int | float) for x in pair):
            raise ValueError(
                f"A reference is written ENV=RANDOM,REFERENCE (for example CartPole-v1=22,500), got {text!r}"
            )
        found[environment] = (float(pair[0]), float(pair[1]))
    return found


def _searched(name: str, space: Space, only: Iterable[str], fixed: Mapping[str, Any]) -> dict[str, Dimension]:
    """The part of a space that is searched."""
    wanted = list(dict.fromkeys(only))
    for argument in wanted:
        if argument in fixed:
            raise ValueError(f"{argument!r} is fixed with --set and searched with --only: give one of the two")
        if argument not in space:
            raise ValueError(
                f"{argument!r} is not in the space of {name}: it has {', '.join(space)}."
                f"{did_you_mean(argument, space)} Describe a range of your own in a --space file"
            )
    found = {a: d for a, d in space.items() if a not in fixed and (not wanted or a in wanted)}
    if not found:
        raise ValueError(f"There is nothing to search: {name}'s space is {', '.join(space) or 'empty'}")
    return found


def _check_space(name: str, space: Space, fixed: Mapping[str, Any], at_start: Mapping[str, Any]) -> None:
    """Raise where a user's space does not fit the algorithm, the fixed settings or the defaults."""
    takes = constructor_parameters(name)
    for argument, dimension in space.items():
        if argument not in takes:
            check_settings(name, {argument: None})  # says what it takes
        if argument in fixed:
            raise ValueError(
                f"{argument!r} is fixed with --set and searched in the space: take it out of one of the two"
            )
        if isinstance(dimension, BandRatio) and "clip_range" not in takes:
            raise ValueError(f"band_ratio is a multiple of clip_range, which {name} does not take: use real")
        choices = getattr(space.get("clip_range"), "values", ())
        if isinstance(dimension, BandRatio) and not all(map(is_number, choices)):
            raise ValueError(
                f"band_ratio is a multiple of clip_range, which the space lets be one of {choices}, and a schedule has "
                "no multiple: leave the schedules out, or search clip_range_high as real"
            )
        value = dimension.from_setting(at_start.get(argument), at_start)
        if not dimension.contains(value):
            raise ValueError(
                f"Trial 0 is the defaults, and {argument}={at_start.get(argument)!r} lies outside "
                f"{dimension.to_json()}: widen the range, or take {argument} out of the space and fix it with --set"
            )


def _check_extremes(plan: StudyPlan) -> None:
    """Build the model at the ends of each dimension, with all else as in trial 0: a trial may draw them."""
    start = plan.passed(0, {})
    for argument, dimension in plan.space.items():
        for value in dimension.extremes():
            changed = run_settings(plan.algorithm, {**start, argument: dimension.setting(value, plan.defaults)})
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # such as a batch that does not divide the rollout
                    check_by_building(plan.runs(changed, [0])[0])
            except ValueError as error:
                raise ValueError(f"{argument} in the space reaches {value!r}: {error}. Narrow its range") from error


def _references(
    environments: Iterable[str], given: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    environments = list(environments)
    for environment, pair in given.items():
        if environment not in environments:
            raise ValueError(
                f"A reference is given for {environment!r}, which is not in the study: {', '.join(environments)}."
                f"{did_you_mean(environment, environments)}"
            )
        if len(pair) != 2 or not all(math.isfinite(x) for x in pair) or not pair[0] < pair[1]:
            raise ValueError(
                f"The reference of {environment} must lie above its random return, both finite; got {tuple(pair)}"
            )
    return {**reference_pairs(environments), **{e: (float(r), float(y)) for e, (r, y) in given.items()}}
