"""Settings, the arguments of an algorithm's constructor: parsing, checks, shared settings of peers, differences."""

import ast
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.runs.registry import PEERS, algorithm_class, did_you_mean

# Arguments that the run sets: the environment, seed, device and logging are not settings of the algorithm.
RESERVED = frozenset(
    {"self", "env", "seed", "device", "verbose", "tensorboard_log", "stats_window_size", "monitor_wrapper"}
    | {"_init_setup_model", "supported_action_spaces", "support_multi_env"}
)
# In the place of a value, if a class has no such setting.
ABSENT = "–"


def all_parameters(algorithm: str) -> dict[str, inspect.Parameter]:
    """The constructor's arguments, including those that a subclass passes on through ``**kwargs``.

    :param algorithm: Name of the algorithm
    :return: Argument → parameter, in the constructor's order
    """
    found: dict[str, inspect.Parameter] = {}
    cls = algorithm_class(algorithm)
    signatures = [inspect.signature(cls)]  # complete if the class composes its signature
    signatures += [inspect.signature(vars(c)["__init__"]) for c in cls.__mro__[:-1] if "__init__" in vars(c)]
    for signature in signatures:
        parameters = signature.parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break  # this constructor passes on only arguments that it names
    return found


def constructor_parameters(algorithm: str) -> dict[str, inspect.Parameter]:
    """The constructor's arguments that are settings.

    :param algorithm: Name of the algorithm
    :return: Argument → parameter, in the constructor's order
    """
    return {name: p for name, p in all_parameters(algorithm).items() if name not in RESERVED}


def parse_value(text: str) -> Any:
    """A setting's value from the command line: JSON, else a Python literal, else the text itself.

    :param text: For example ``0.1``, ``null``, ``None``, ``[64, 64]``, ``lin_0.01``
    :return: The value
    """
    with suppress(ValueError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, TypeError):
        return ast.literal_eval(text)
    return text


def parse_assignments(texts: Iterable[str], algorithm: str | None = None) -> dict[str, dict[str, Any]]:
    """Parse ``--set`` options.

    :param texts: ``algorithm.argument=value`` (the algorithm may contain colons and dots), or ``argument=value`` if
        ``algorithm`` is given
    :param algorithm: The algorithm of a command that has only one
    :return: Algorithm → argument → value; the last of several assignments to one argument counts
    """
    result: dict[str, dict[str, Any]] = {}
    form = "argument=value" if algorithm else "algorithm.argument=value"
    example = "clip_range=0.1" if algorithm else "clip_ppo.clip_range=0.1"
    for text in texts:
        left, equals, value = text.partition("=")
        owner, dot, argument = (algorithm, ".", left) if algorithm else left.rpartition(".")
        if not (equals and dot and owner and argument.isidentifier()):
            raise ValueError(f"A setting is written {form} (for example {example}), got {text!r}")
        result.setdefault(owner, {})[argument] = parse_value(value)
    return result


def check_settings(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings and bring them into the form in which a ledger keeps them.

    :param algorithm: Name of the algorithm
    :param settings: Argument → value
    :return: The settings after a round trip through JSON (tuples become lists)
    :raises ValueError: for an argument that the algorithm does not take or that the run sets
    :raises TypeError: for a value that is not JSON
    """
    takes = constructor_parameters(algorithm)
    for argument in settings:
        if argument in RESERVED:
            raise ValueError(f"{argument!r} of {algorithm} is set by the run and cannot be a setting")
        if argument not in takes:
            raise ValueError(
                f"{algorithm} takes no argument {argument!r}.{did_you_mean(argument, takes)} "
                f"It takes {', '.join(takes)}"
            )
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Settings of {algorithm} must be numbers, strings, booleans, None, lists or dicts of these, because the "
            f"ledger keeps them as JSON: {error}. Anything else belongs in a class of your own (package.module:Class)"
        ) from error
    return kept


def run_settings(algorithm: str, overrides: Mapping[str, Any], peer_defaults: bool = False) -> dict[str, Any]:
    """The settings that a run passes to the constructor.

    A peer gets our documented defaults for the arguments that it takes. Our classes and a user's own class keep their
    own defaults.

    :param algorithm: Name of the algorithm
    :param overrides: The user's settings, which take precedence
    :param peer_defaults: Keep the peers' own defaults
    :return: Argument → value
    """
    shared: dict[str, Any] = {}
    if algorithm in PEERS and not peer_defaults:
        takes = constructor_parameters(algorithm)
        shared = {d.argument: d.default for d in DOCUMENTED if d.argument in takes}
    return shared | check_settings(algorithm, overrides)


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
) -> tuple[dict[str, list[Any]], dict[str, dict[str, Any]]]:
    """The settings in which the variants of a comparison differ.

    :param variants: Variant → all its settings
    :return: First setting → one value per variant (:data:`ABSENT` for a variant without it), for the settings that
        several variants have; then variant → the settings that no other variant has
    """
    shared: dict[str, list[Any]] = {}
    alone: dict[str, dict[str, Any]] = {}
    for setting in dict.fromkeys(s for settings in variants.values() for s in settings):
        owners = [name for name, settings in variants.items() if setting in settings]
        values = [settings.get(setting, ABSENT) for settings in variants.values()]
        if len(owners) == 1 and len(variants) > 1:
            alone.setdefault(owners[0], {})[setting] = variants[owners[0]][setting]
        elif not _all_equal(values):
            shared[setting] = values
    return shared, alone


def _all_equal(values: Sequence[Any]) -> bool:
    # repr: 1 == True == 1.0, which a constructor may distinguish, and the comparison of arrays has no truth value
    return all(v is values[0] or repr(v) == repr(values[0]) for v in values)
