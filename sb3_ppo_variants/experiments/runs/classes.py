"""Classes in settings by name: torch modules and optimizers, SB3's policies, feature extractors and buffers, your own.

A command line gives names, and a ledger keeps them, because it is JSON. The constructor is given the classes.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch as th
from stable_baselines3 import her
from stable_baselines3.common import buffers, policies, torch_layers

from sb3_ppo_variants.experiments.runs.registry import did_you_mean, import_user_module

#: Argument or entry of a dictionary (``policy_kwargs``) whose value is a class → where its name is looked up.
PLACES: Mapping[str, tuple[ModuleType, ...]] = {
    "policy": (policies,),
    "activation_fn": (th.nn,),
    "optimizer_class": (th.optim,),
    "features_extractor_class": (torch_layers,),
    "rollout_buffer_class": (buffers,),
    "replay_buffer_class": (buffers, her),
}
#: What people write in front of torch's classes.
_USUAL_MODULES = ("torch", "th", "nn", "optim")


def with_classes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with classes in the place of their names.

    :param settings: Argument → value; a name is written ``ReLU``, ``nn.ReLU`` or ``torch.nn.ReLU``, your own class
        ``package.module:Class``
    :raises ValueError: if there is no such class
    """
    return {key: _with_class(key, value) for key, value in settings.items()}


def _with_class(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return with_classes(value)
    return _class(key, value) if isinstance(value, str) and key in PLACES else value


def _class(key: str, name: str) -> Any:
    module_name, _, class_name = name.rpartition(":" if ":" in name else ".")
    if ":" not in name:
        for module in PLACES[key]:
            classes = {n.casefold(): n for n, value in vars(module).items() if isinstance(value, type)}
            if class_name.casefold() in classes:
                return getattr(module, classes[class_name.casefold()])
    if module_name and module_name.split(".")[0] not in _USUAL_MODULES:
        try:
            return getattr(import_user_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{key}={name!r} cannot be found ({type(error).__name__}: {error})") from error
    if key == "policy":
        return name  # an alias of the algorithm's, such as MlpPolicy
    known = [n for module in PLACES[key] for n, value in vars(module).items() if isinstance(value, type)]
    where = " or ".join(module.__name__ for module in PLACES[key])
    raise ValueError(
        f"{key}={name!r} is not a class of {where}.{did_you_mean(name, known)} "
        "Your own class is written package.module:Class"
    )


def in_rl_zoo3(value: Any) -> Any:
    """A setting as a configuration of rl_zoo3 has it: with Python code in the place of a dictionary with classes.

    :param value: The setting, with names of classes
    :raises ValueError: for a class that has no name in rl_zoo3
    """
    given = with_classes(value) if isinstance(value, Mapping) else value
    return value if given == value else _code(given, _no_name)


def in_python(name: str, value: Any) -> str:
    """A setting as Python code: torch's classes as rl_zoo3 has them (``nn.ReLU``), others with their module.

    :param name: The argument
    :param value: The setting, with names of classes
    """
    return _code(_with_class(name, value), lambda cls: f"{cls.__module__}.{cls.__qualname__}")


def _code(value: Any, other_class: Callable[[type], str]) -> str:
    if isinstance(value, Mapping):
        return f"dict({', '.join(f'{key}={_code(one, other_class)}' for key, one in value.items())})"
    if not isinstance(value, type):
        return repr(value)
    name = value.__name__
    for module, prefix in ((th.nn, "nn"), (th.optim, "th.optim")):
        if vars(module).get(name) is value:
            return f"{prefix}.{name}"
    return other_class(value)


def _no_name(cls: type) -> str:
    raise ValueError(f"{cls.__module__}.{cls.__qualname__} has no name in the configurations of rl_zoo3")


def class_name(value: Any) -> str:
    """The name from which :func:`with_classes` finds a class again.

    :param value: The class
    :raises TypeError: if it is not a class, or one that other processes cannot import
    """
    if not isinstance(value, type) or value.__module__ == "__main__" or "." in value.__qualname__:
        raise TypeError(f"{value!r} is neither JSON nor a class that other processes can import")
    modules = {module for place in PLACES.values() for module in place}
    if any(getattr(module, value.__name__, None) is value for module in modules):
        return value.__name__
    return f"{value.__module__}:{value.__qualname__}"
