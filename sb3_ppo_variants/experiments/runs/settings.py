"""Settings, the arguments of an algorithm's constructor: parsing, checks, shared settings of peers, differences."""

import ast
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sb3_ppo_variants.algorithms.arguments import parameters_of_constructor
from sb3_ppo_variants.algorithms.hints import argument_hint
from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.runs.classes import class_name, with_classes
from sb3_ppo_variants.experiments.runs.registry import PEERS, algorithm_class
from sb3_ppo_variants.files import with_digest
from sb3_ppo_variants.safe_files.settings import SafeAlgorithm

# Arguments that the run sets: the environment, seed, device and logging are not settings of the algorithm.
RESERVED = frozenset(
    {"self", "env", "seed", "device", "verbose", "tensorboard_log", "stats_window_size", "monitor_wrapper"}
    | {"_init_setup_model", "supported_action_spaces", "support_multi_env"}
)
#: What is said of those that one might look for.
_SET_BY_THE_RUN = {
    "env": "give it as --env",
    "seed": "give it as --seed or --seeds",
    "device": "runs train on the CPU, so that they can be repeated",
    "tensorboard_log": "train has --tensorboard",
}
#: Owner of a setting of all variants.
EVERY = "*"
# In the place of a value, if a class has no such setting.
ABSENT = "–"

#: Settings that a comparison lists only if a variant uses them, with the values that mean that it does not.
UNUSED: Mapping[str, Any] = {
    "reference_policy": None,
    "reference_kl_coef": 0.0,
    "reference_kl_direction": "ref_new",
    "adaptive_reference_kl_target": None,
    "critic_warmup": 0,
}


def all_parameters(algorithm: str) -> dict[str, inspect.Parameter]:
    """The constructor's arguments, including those that a subclass passes on through ``**kwargs``.

    :param algorithm: Name of the algorithm
    :return: Argument → parameter, in the constructor's order
    """
    return parameters_of_constructor(algorithm_class(algorithm))


def constructor_parameters(algorithm: str) -> dict[str, inspect.Parameter]:
    """The constructor's arguments that are settings.

    :param algorithm: Name of the algorithm
    :return: Argument → parameter, in the constructor's order
    """
    return {name: p for name, p in all_parameters(algorithm).items() if name not in RESERVED}


def parse_value(text: str) -> Any:
    """A setting's value from the command line: JSON, else a Python literal, else the text.

    It may contain ``dict(…)`` and names of classes, as in rl_zoo3: ``dict(activation_fn=nn.ReLU, net_arch=[64])``.

    :param text: For example ``0.1``, ``null``, ``None``, ``[64, 64]``, ``lin_0.01``
    :return: The value; names of classes as text
    """
    with suppress(ValueError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, TypeError):
        return ast.literal_eval(text)
    with suppress(ValueError, SyntaxError, TypeError):
        return ast.literal_eval(_Literal().visit(ast.parse(text.strip(), mode="eval")))
    return text


class _Literal(ast.NodeTransformer):
    """Makes ``dict(name=value)`` a literal, and a name within it, such as ``nn.ReLU``, a text."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError(f"{ast.unparse(node)} is not dict(name=value)")
        names: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(names, [self.visit(keyword.value) for keyword in node.keywords])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant(ast.unparse(node))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id)


# A dictionary's entry, such as policy_kwargs.activation_fn, or an argument; the variant in front may contain dots.
_ASSIGNED = tuple(
    re.compile(rf"(?:(?P<owner>.+?)\.)??(?P<path>{path})=(?P<value>.*)", re.DOTALL)
    for path in (r"[^\W\d]\w*_kwargs(?:\.[^\W\d]\w*)+", r"[^\W\d]\w*")
)


def parse_assignments(texts: Iterable[str], algorithm: str | None = None) -> dict[str, dict[str, Any]]:
    """Parse ``--set`` options.

    An entry of a dictionary is set by ``argument.key=value``: ``policy_kwargs.activation_fn=ReLU``.

    :param texts: ``variant.argument=value`` (the variant may contain colons and dots), or ``argument=value`` for all
        variants (:data:`EVERY`), or for ``algorithm`` if it is given
    :param algorithm: The algorithm of a command that has only one
    :return: Variant → argument → value; the last of several assignments to one argument counts
    :raises ValueError: for a text of another form
    """
    result: dict[str, dict[str, Any]] = {}
    form = "argument=value" if algorithm else "argument=value or variant.argument=value"
    example = "clip_range=0.1" if algorithm else "clip_ppo.clip_range=0.1"
    for text in texts:
        found = next((match for pattern in _ASSIGNED if (match := pattern.fullmatch(text))), None)
        if found is None or (algorithm and found["owner"]):
            raise ValueError(f"A setting is written {form} (for example {example}), got {text!r}")
        *keys, last = found["path"].split(".")
        settings = result.setdefault(found["owner"] or algorithm or EVERY, {})
        for key in keys:
            settings[key] = dict(settings[key]) if isinstance(settings.get(key), dict) else {}
            settings = settings[key]
        settings[last] = parse_value(found["value"])
    return result


def check_settings(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings and bring them into the form in which a ledger keeps them: a file with its digest.

    :param algorithm: Name of the algorithm
    :param settings: Argument → value
    :return: The settings after a round trip through JSON: tuples become lists, classes their names
    :raises ValueError: for an argument that the algorithm does not take or that the run sets, or the name of a class or
        file that does not exist
    :raises TypeError: for a value that is not JSON
    """
    _check_arguments(algorithm, settings)
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(settings), default=class_name))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Settings of {algorithm} must be numbers, strings, booleans, None, lists or dicts of these, because the "
            f"ledger keeps them as JSON: {error}. Anything else belongs in a class of your own (package.module:Class)"
        ) from error
    if isinstance(kept.get("reference_policy"), str):
        kept["reference_policy"] = with_digest(kept["reference_policy"])
    with_classes(kept)  # raises for a class that does not exist
    return kept


def _check_arguments(algorithm: str, arguments: Iterable[str]) -> None:
    takes = constructor_parameters(algorithm)
    for argument in arguments:
        if argument in RESERVED:
            said = f": {_SET_BY_THE_RUN[argument]}" if argument in _SET_BY_THE_RUN else ""
            raise ValueError(f"{argument!r} of {algorithm} is set by the run and cannot be a setting{said}")
        if argument not in takes:
            hint = argument_hint(algorithm_class(algorithm), argument, takes, SafeAlgorithm.family)
            said = f" {hint[0].upper()}{hint[1:]}" if hint else ""
            raise ValueError(f"{algorithm} takes no argument {argument!r}.{said} It takes {', '.join(takes)}")


def settings_of_variant(variant: str, algorithm: str, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A variant's settings: those of all variants, and its own, which take precedence.

    :param variant: Its name
    :param algorithm: Name of its algorithm
    :param settings: Variant, or :data:`EVERY`, → argument → value
    :raises ValueError: see :func:`check_settings`
    """
    shared = settings.get(EVERY, {})
    try:
        _check_arguments(algorithm, shared)
    except ValueError as error:
        raise ValueError(
            f"{error}. A setting without a variant's name is for all of them: write VARIANT.ARGUMENT=VALUE for one"
        ) from error
    return merged(check_settings(algorithm, shared), check_settings(algorithm, settings.get(variant, {})))


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where the second takes precedence, also in nested dictionaries.

    :param first: Settings
    :param second: More settings
    """
    both = dict(first)
    for key, value in second.items():
        known = both.get(key)
        both[key] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return both


def without_update(n_steps: object, n_envs: int, timesteps: int) -> str | None:
    """A warning when a run ends with its first rollout, so that the untrained policy is scored; else ``None``.

    :param n_steps: Steps of a rollout in each environment, where the algorithm has rollouts
    :param n_envs: Environments stepped together
    :param timesteps: Training steps
    """
    if not isinstance(n_steps, int) or timesteps > n_steps * n_envs:
        return None
    return (
        f"timesteps={timesteps} are collected before the first update (n_steps={n_steps} × {n_envs} environments), so "
        "that scores are those of the untrained policy: give more --timesteps, or --set n_steps=…"
    )


def run_settings(algorithm: str, overrides: Mapping[str, Any], peer_defaults: bool = False) -> dict[str, Any]:
    """The settings that a run passes to the constructor.

    A peer gets our documented defaults for the arguments that it takes. Our classes and a user's own class keep their
    own defaults.

    :param algorithm: Name of the algorithm
    :param overrides: The user's settings, which take precedence
    :param peer_defaults: Keep the peers' own defaults
    :return: Argument → value
    """
    shared = {} if peer_defaults else _shared_with_peer(algorithm)
    return shared | check_settings(algorithm, overrides)


def has_our_settings(algorithm: str, settings: Mapping[str, Any]) -> bool:
    """Whether a run is a peer's and was given a documented default of ours that is not its own.

    A run whose values are all the peer's own defaults is not: the peer runs as it is.

    :param algorithm: Name of the algorithm
    :param settings: The settings that the run passes
    """
    shared, takes = _shared_with_peer(algorithm), constructor_parameters(algorithm)
    given = [name for name, ours in shared.items() if name in settings and settings[name] == ours]
    return shared.keys() <= settings.keys() and any(shared[name] != takes[name].default for name in given)


def _shared_with_peer(algorithm: str) -> dict[str, Any]:
    """Our documented defaults for the arguments that a peer takes; empty for any other algorithm."""
    if algorithm not in PEERS:
        return {}
    takes = constructor_parameters(algorithm)
    return {d.argument: d.default for d in DOCUMENTED if d.argument in takes}


def full_settings(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a run: the constructor's defaults, replaced by the settings that the run passes.

    :param algorithm: Name of the algorithm
    :param settings: The settings that the run passes
    :return: Argument → value
    """
    defaults = {n: p.default for n, p in constructor_parameters(algorithm).items() if p.default is not p.empty}
    return defaults | dict(settings)


def differing_settings(
    variants: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, list[Any]], dict[str, dict[str, Any]], dict[str, Any]]:
    """The settings in which the variants of a comparison differ, without those that none of them uses.

    :param variants: Variant → all its settings
    :return: First setting → one value per variant (:data:`ABSENT` for a variant without it), where the values differ;
        then variant → the settings that no other variant has; then those that several have, but not all, with one value
    """
    differing: dict[str, list[Any]] = {}
    alone: dict[str, dict[str, Any]] = {}
    some: dict[str, Any] = {}
    for setting in dict.fromkeys(s for settings in variants.values() for s in settings):
        if setting in UNUSED and all(s.get(setting, UNUSED[setting]) == UNUSED[setting] for s in variants.values()):
            continue
        owners = [name for name, settings in variants.items() if setting in settings]
        value = variants[owners[0]][setting]
        if not _all_equal([variants[name][setting] for name in owners]):
            differing[setting] = [settings.get(setting, ABSENT) for settings in variants.values()]
        elif len(owners) == 1 and len(variants) > 1:
            alone.setdefault(owners[0], {})[setting] = value
        elif len(owners) < len(variants):
            some[setting] = value
    return differing, alone, some


def _all_equal(values: Sequence[Any]) -> bool:
    # repr: 1 == True == 1.0, which a constructor may distinguish, and the comparison of arrays has no truth value
    return all(v is values[0] or repr(v) == repr(values[0]) for v in values)
