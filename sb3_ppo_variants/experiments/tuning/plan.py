"""From what the user asked for to a study's plan, checked before anything is run."""

import dataclasses
import importlib.util
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from stable_baselines3.common.base_class import BaseAlgorithm

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
from sb3_ppo_variants.experiments.search_space.spaces import Dimension, default_space, dimension_from_json
from sb3_ppo_variants.experiments.stats.references import reference_pairs
from sb3_ppo_variants.experiments.tuning.metric import choose_aggregation
from sb3_ppo_variants.experiments.tuning.samplers import check_sampler
from sb3_ppo_variants.experiments.tuning.trials import StudyPlan

Space: TypeAlias = Mapping[str, Dimension]

SPACE_EXAMPLE = """
clip_range: {kind: real, low: 0.1, high: 0.3, log: true}
gae_lambda: {kind: complement, low: 0.9, high: 0.99}
n_epochs: {kind: integer, low: 3, high: 10}
batch_size: [32, 64, 128]
clip_range_high: {kind: band_ratio, low: 1.0, high: 2.0}
"""


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
) -> StudyPlan:
    """A study's plan, or a clear error; see :func:`.tuning.tune` for the arguments."""
    name = algorithm_name(algorithm)
    wanted = tuple(dict.fromkeys([environments] if isinstance(environments, str) else environments))
    if not wanted:
        raise ValueError("A study needs an environment: give a Gymnasium id")
    for environment in wanted:
        check_environment(environment)
    check_n_envs(n_envs)
    tuning_seeds(seeds)
    if isinstance(sampler_seed, bool) or not isinstance(sampler_seed, int) or sampler_seed < 0:
        raise ValueError(f"The sampler's seed is a whole number from 0, got {sampler_seed!r}")
    fixed = check_settings(name, settings)
    start = run_settings(name, fixed)
    # Any mistake in the fixed settings is the command's, not the first trial's.
    check_by_building(Run(name, wanted[0], 0, timesteps, n_envs, start))
    searched = _space(name, space, only, fixed, start, n_envs)
    if space is not None:
        _check_extremes(searched, Run(name, wanted[0], 0, timesteps, n_envs, start))
    known = _references(wanted, references)
    return StudyPlan(
        algorithm=name,
        environments=wanted,
        timesteps=timesteps,
        n_envs=n_envs,
        seeds=seeds,
        space=searched,
        fixed=fixed,
        sampler=check_sampler(sampler),
        sampler_seed=sampler_seed,
        aggregation=choose_aggregation(wanted, known),
        pruning=pruning,
        references=known,
    )


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


def read_space(path: str | Path) -> dict[str, Dimension]:
    """A search space from a JSON, YAML or TOML file: argument → a list of values, or kind and ends.

    In YAML (JSON and TOML have the same form)::

        clip_range: {kind: real, low: 0.1, high: 0.3, log: true}
        gae_lambda: {kind: complement, low: 0.9, high: 0.99}        # 1 - gae_lambda on a logarithmic scale
        n_epochs: {kind: integer, low: 3, high: 10}
        batch_size: [32, 64, 128]
        clip_range_high: {kind: band_ratio, low: 1.0, high: 2.0}    # as a multiple of clip_range

    :param path: The file
    :return: Argument → dimension
    :raises ValueError: when there is no such file, it cannot be read, or an entry is no dimension
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"There is no space file {file}")
    found = _parse(file)
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{file} holds no space; one looks like this:{SPACE_EXAMPLE}")
    space = {}
    for argument, entry in found.items():
        try:
            space[str(argument)] = dimension_from_json(entry)
        except (TypeError, ValueError) as error:  # noqa: PERF203 (the error says which entry)
            raise ValueError(f"{argument} in {file}: {error}") from error
    return space


def parse_references(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``--reference`` options.

    :param texts: ``ENV=RANDOM,REFERENCE`` each
    :return: Environment → (random, reference)
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


def _parse(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    kind = file.suffix.lower()
    try:
        if kind == ".json":
            return json.loads(text)
        if kind in (".yml", ".yaml"):
            import yaml

            return yaml.safe_load(text)
        if kind == ".toml":
            if importlib.util.find_spec("tomllib") is None:
                raise ValueError("TOML needs Python 3.11 or newer: write the space in JSON or YAML")
            import tomllib

            return tomllib.loads(text)
    except Exception as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    raise ValueError(f"A space file ends in .json, .yaml, .yml or .toml, got {file}")


def _space(
    name: str,
    given: Space | str | Path | None,
    only: Iterable[str],
    fixed: Mapping[str, Any],
    start: Mapping[str, Any],
    n_envs: int,
) -> dict[str, Dimension]:
    own = read_space(given) if isinstance(given, str | Path) else given
    whole = default_space(name, start, n_envs) if own is None else dict(own)
    at_start = full_settings(name, start)
    if own is not None:
        _check_own(name, own, fixed, at_start)
    wanted = list(dict.fromkeys(only))
    for argument in wanted:
        if argument in fixed:
            raise ValueError(f"{argument!r} is fixed with --set and searched with --only: give one of the two")
        if argument not in whole:
            raise ValueError(
                f"{argument!r} is not in the space of {name}: it has {', '.join(whole)}."
                f"{did_you_mean(argument, whole)} Describe a range of your own in a --space file"
            )
    space = {a: d for a, d in whole.items() if a not in fixed and (not wanted or a in wanted)}
    if not space:
        raise ValueError(f"There is nothing to search: {name}'s space is {', '.join(whole) or 'empty'}")
    return space


def _check_own(name: str, space: Space, fixed: Mapping[str, Any], at_start: Mapping[str, Any]) -> None:
    takes = constructor_parameters(name)
    for argument, dimension in space.items():
        if argument not in takes:
            check_settings(name, {argument: None})  # says what it takes
        if argument in fixed:
            raise ValueError(
                f"{argument!r} is fixed with --set and searched in the space: take it out of one of the two"
            )
        if dimension.kind == "band_ratio" and "clip_range" not in takes:
            raise ValueError(f"band_ratio is a multiple of clip_range, which {name} does not take: use real")
        value = dimension.from_setting(at_start.get(argument), at_start)
        if not dimension.contains(value):
            raise ValueError(
                f"Trial 0 is the defaults, and {argument}={at_start.get(argument)!r} lies outside "
                f"{dimension.to_json()}: widen the range, or take {argument} out of the space and fix it with --set"
            )


def without_update(plan: StudyPlan) -> str | None:
    """What to say where a run is over before its first update, so that the untrained policy is scored; else ``None``.

    :param plan: The study
    """
    n_steps = full_settings(plan.algorithm, run_settings(plan.algorithm, plan.fixed)).get("n_steps")
    if not isinstance(n_steps, int) or "n_steps" in plan.space or plan.timesteps > n_steps * plan.n_envs:
        return None
    return (
        f"timesteps={plan.timesteps} are collected before the first update (n_steps={n_steps} × {plan.n_envs} "
        "environments), so that scores are those of the untrained policy: give more --timesteps, or --set n_steps=…"
    )


def _check_extremes(space: Space, defaults: Run) -> None:
    """Build the model at the ends of each dimension, with all else as in trial 0, which a trial may well draw."""
    name = defaults.algorithm
    at_start = full_settings(name, defaults.settings)
    for argument, dimension in space.items():
        for value in dimension.extremes():
            changed = {**defaults.settings, argument: dimension.setting(value, at_start)}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of a batch that does not divide the rollout, say: when it is run
                    check_by_building(dataclasses.replace(defaults, settings=run_settings(name, changed)))
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
