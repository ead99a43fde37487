"""Constructor signatures that show every argument although each is written down once."""

import difflib
import inspect
from collections.abc import Iterable
from typing import get_args, get_origin

from stable_baselines3 import PPO
from typing_extensions import Unpack

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PPO_ORDER = list(inspect.signature(PPO).parameters)


def _passed_on(kwargs: inspect.Parameter, parent: type) -> list[inspect.Parameter]:
    """
    What ``**kwargs`` of a constructor stands for: the keys of its ``Unpack[TypedDict]``, or without such an annotation
    (a user's own subclass) everything that the parent takes; defaults are the parent's. The base's ``**unknown`` stands
    for nothing: it is there to be refused.
    """
    if kwargs.name == "unknown":
        return []
    inherited = inspect.signature(parent).parameters
    names: Iterable[str] = inherited
    if get_origin(kwargs.annotation) is Unpack:
        names = get_args(kwargs.annotation)[0].__annotations__
    return [inherited[name].replace(kind=_KEYWORD) for name in names]


def composed_signature(cls: type, parent: type) -> inspect.Signature:
    """
    The signature that ``help()``, editors and rl_zoo3 should see: ``**kwargs`` replaced by what it passes on.

    :param cls: A class with an ``__init__`` of its own
    :param parent: The class that ``**kwargs`` is passed to
    :return: its signature, without ``self``; keywords in the order of SB3's ``PPO``, what PPO does not have after them
    """
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    parameters = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    taken = {parameter.name for parameter in parameters}
    for kwargs in own:
        if kwargs.kind is not inspect.Parameter.VAR_KEYWORD:
            continue
        parameters += [parameter for parameter in _passed_on(kwargs, parent) if parameter.name not in taken]
    return inspect.Signature(sorted(parameters, key=_place))


def _place(parameter: inspect.Parameter) -> int:
    # Sorting is stable: positional parameters stay where they are, PPO's keywords follow in PPO's order, then the rest
    # as declared.
    if parameter.kind is not _KEYWORD:
        return -1
    return _PPO_ORDER.index(parameter.name) if parameter.name in _PPO_ORDER else len(_PPO_ORDER)


def reject_unknown_arguments(cls: type, names: Iterable[str]) -> None:
    """
    :param cls: The class whose constructor was called
    :param names: The keyword arguments passed
    :raises TypeError: for the first that the constructor does not take, with the nearest that it does
    """
    known = list(inspect.signature(cls).parameters)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}."
            raise TypeError(f"{cls.__name__} has no argument {name!r}: {hint}")
