"""
Constructor arguments: their types, the signature that a class shows, and the refusal of unknown names.

A class declares its own arguments and passes the rest on as ``**kwargs: Unpack[...]`` with one of the dictionaries
below, which type checkers read. ``visible_signature`` reads them too, so ``help()``, editors and rl_zoo3 see every
argument of every class. Defaults and meanings are those of the class that declares the argument.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, Literal, get_args, get_origin

import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy
from typing_extensions import TypedDict, Unpack

from sb3_ppo_variants.algorithms.coefficients import Coefficient
from sb3_ppo_variants.algorithms.hints import argument_hint
from sb3_ppo_variants.algorithms.nonfinite import NonFiniteUpdate
from sb3_ppo_variants.objectives import ReferenceKLDirection
from sb3_ppo_variants.objectives.advantages import NormalizeAdvantage
from sb3_ppo_variants.policies import ReferencePolicy

UpdateBackend = Literal["auto", "autograd", "closed_form", "compiled"]


class SB3Arguments(TypedDict, total=False):
    """What ``OnPolicyVariant`` passes on to SB3's base class."""

    rollout_buffer_class: type[RolloutBuffer] | None
    rollout_buffer_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    seed: int | None


class RolloutArguments(SB3Arguments, total=False):
    """What every algorithm passes on."""

    normalize_advantage: NormalizeAdvantage
    use_sde: bool
    sde_sample_freq: int
    use_masking: bool
    sequence_length: int | None
    refresh_states: bool
    reference_policy: BaseAlgorithm | BasePolicy | ReferencePolicy | str | PathLike[str] | None
    reference_kl_coef: Coefficient
    reference_kl_direction: ReferenceKLDirection
    adaptive_reference_kl_target: float | None
    critic_warmup: int
    verbose: int
    device: th.device | str
    _init_setup_model: bool
    learning_rate_vf: Coefficient | None
    bootstrap_truncated: bool
    update_backend: UpdateBackend
    nonfinite_update: NonFiniteUpdate


class SharedArguments(RolloutArguments, total=False):
    """What the algorithms with one loss for policy and critic pass on too."""

    vf_coef: Coefficient
    max_grad_norm: float | None
    measure_kl: bool | None


class ObjectiveArguments(SharedArguments, total=False):
    """What a subclass of ``SurrogatePPO`` passes on if it takes ``PPO``'s positional arguments."""

    ent_coef: Coefficient
    target_kl: float | None
    clip_range_vf_mode: Literal["sb3", "max"]


class SurrogateArguments(ObjectiveArguments, total=False):
    """What any other subclass of ``SurrogatePPO`` passes on."""

    batch_size: int | None
    n_epochs: int
    gamma: float
    gae_lambda: float
    clip_range_vf: Coefficient | None


class ClipRangeArguments(SurrogateArguments, total=False):
    """What a subclass of ``ClipRangePPO`` passes on."""

    clip_range: Coefficient


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PPO_ORDER = list(inspect.signature(PPO).parameters)


def declared_names(constructor: Callable[..., Any]) -> Iterable[str] | None:
    """
    :param constructor: An ``__init__``
    :return: the names that its ``**kwargs`` stands for; ``None`` where it is not annotated (in a user's subclass, say)
    """
    parameters = inspect.signature(constructor).parameters.values()
    annotations = [parameter.annotation for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    if annotations and get_origin(annotations[0]) is not Unpack:
        return None
    return [name for typed in annotations for name in get_args(typed)[0].__annotations__]


def parameters_of_constructor(cls: type) -> dict[str, inspect.Parameter]:
    """
    :param cls: A class of ours, of SB3's, or of a user's
    :return: its constructor's arguments by name, with those that it passes on to its parents through ``**kwargs``
    """
    found: dict[str, inspect.Parameter] = {}
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


def visible_signature(cls: type, parent: type) -> inspect.Signature:
    """
    The signature with ``**kwargs`` replaced by the arguments that it passes on; all of the parent's if it does not say.

    :param cls: A class with an ``__init__`` of its own
    :param parent: The class that ``**kwargs`` is passed to
    :return: its signature, without ``self``; keywords in the order of SB3's ``PPO``, then those that PPO does not have
    """
    constructor: Callable[..., Any] = cls.__init__  # type: ignore[misc]
    own = list(inspect.signature(constructor).parameters.values())[1:]
    shown = {parameter.name: parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD}
    inherited, declared = inspect.signature(parent).parameters, declared_names(constructor)
    for name in inherited if declared is None else declared:
        shown.setdefault(name, inherited[name].replace(kind=_KEYWORD))
    return inspect.Signature(sorted(shown.values(), key=_place))


def _place(parameter: inspect.Parameter) -> int:
    # Sorting is stable: positional parameters stay in front, PPO's keywords follow in PPO's order, then the rest.
    if parameter.kind is not _KEYWORD:
        return -1
    return _PPO_ORDER.index(parameter.name) if parameter.name in _PPO_ORDER else len(_PPO_ORDER)


#: Where the description of an argument, or of an error raised, begins in a docstring.
_FIELD = re.compile(r"^(?=:(?:param|raises) )", re.MULTILINE)


def full_docstring(cls: type, parent: type) -> str:
    """
    The docstring with the description of every argument that the signature shows, so that ``help()`` needs no other
    class's.

    :param cls: A class with a docstring and a ``__signature__``
    :param parent: The class whose docstring describes what this one's does not
    :return: the class's own text, the arguments in the signature's order, and the errors
    """
    text, *own = _FIELD.split(inspect.cleandoc(cls.__doc__ or ""))
    inherited = _FIELD.split(inspect.cleandoc(parent.__doc__ or ""))[1:]
    # ":param name" and ":raises Error", each with its description; the class's own come last and count.
    fields = {field[1:].partition(":")[0]: field.rstrip() for field in inherited + own}
    shown = [f"param {name}" for name in inspect.signature(cls).parameters]
    names = [*shown, *(name for name in fields if name.startswith("raises"))]
    return "\n".join([text.rstrip(), "", *(fields[name] for name in names if name in fields), ""])


def reject_unknown_arguments(cls: Any, names: Iterable[str]) -> None:
    """
    :param cls: The class whose constructor was called, one of ``SafeAlgorithm``'s subclasses
    :param names: The keyword arguments passed
    :raises TypeError: for the first that the constructor does not take; it says whose argument that is and what to use
        in its place, or names the nearest argument
    """
    known = list(inspect.signature(cls).parameters)
    for name in names:
        if name not in known:
            hint = argument_hint(cls, name, known, cls.family) or f"it takes {', '.join(known)}."
            raise TypeError(f"{cls.__name__} has no argument {name!r}: {hint}")
