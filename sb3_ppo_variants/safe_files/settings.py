"""Settings of an algorithm and its policy as JSON values, and back: schedules as data, classes by name."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from sb3_ppo_variants.objectives import KLAdaptiveRate
from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping, real, text

#: Arguments that have keys of their own beside the settings, or that belong to the machine and not to the model.
_NO_SETTINGS = {"policy", "policy_kwargs", "rollout_buffer_class", "rollout_buffer_kwargs", "reference_policy"} | {
    *("env", "device", "tensorboard_log", "_init_setup_model")
}

_ACTIVATIONS = (
    "CELU ELU GELU Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU SiLU Sigmoid "
    "Softplus Softsign Tanh Tanhshrink"
)
_OPTIMIZERS = "Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop SGD"
#: The classes that a file may name, by the policy's argument that takes them. No other name is ever looked up.
CLASSES: dict[str, dict[str, type]] = {
    "activation_fn": {name: getattr(th.nn, name) for name in _ACTIVATIONS.split()},
    "features_extractor_class": {cls.__name__: cls for cls in (FlattenExtractor, NatureCNN, CombinedExtractor)},
    "optimizer_class": {name: getattr(th.optim, name) for name in _OPTIMIZERS.split()}
    | {"RMSpropTFLike": RMSpropTFLike},
}
#: Arguments of a policy that do not come from ``policy_kwargs``.
_NOT_KWARGS = {"self", "observation_space", "action_space", "lr_schedule", "use_sde"}


class SafeAlgorithm(OnPolicyAlgorithm):
    """What the format needs of an algorithm in addition to SB3's attributes."""

    #: The name that its files have for it.
    family_name: ClassVar[str]
    #: The classes by that name: only these may be named in a file.
    family: ClassVar[dict[str, type["SafeAlgorithm"]]] = {}
    #: The settings that may be schedules.
    coefficients: ClassVar[tuple[str, ...]]
    #: The policies that a file may name, where there are action masks.
    maskable_policy_aliases: ClassVar[dict[str, type[BasePolicy]]]
    #: Whether the policy takes action masks.
    use_masking: bool
    #: The checks of its arguments: functions of name and value that raise ``ValueError`` or ``TypeError``.
    checks: ClassVar[dict[str, Callable[[str, Any], None]]]
    #: Name of the class that saved the file, while a file is loaded; afterwards, the model's own ``family_name``.
    _saved_by: str
    #: While a file is loaded: the arguments of ``load_safe`` that replace the file's. ``_setup_model`` deletes it.
    _given_to_load: frozenset[str]
    #: The frozen policy near which the model's is kept, once made: a ``ReferencePolicy``.
    reference_policy: Any
    #: How many updates of the critic's warm-up are done.
    _n_warmup_updates: int
    #: How many updates were skipped because a number was not finite.
    _n_nonfinite_updates: int

    def _freeze_reference(self) -> None:
        """Make a ``ReferencePolicy`` of what has been assigned to ``reference_policy``."""
        raise NotImplementedError


def policies_by_name(cls: type[SafeAlgorithm], use_masking: bool) -> dict[str, type[BasePolicy]]:
    """
    :param cls: An algorithm
    :param use_masking: Whether its policies take action masks
    :return: the policies that a file may name
    """
    return cls.maskable_policy_aliases if use_masking else cls.policy_aliases


def argument_names(cls: type[SafeAlgorithm]) -> list[str]:
    """
    :param cls: An algorithm of this package, or a subclass of one; its constructor may fix arguments instead of taking
        them
    :return: the arguments of all classes down from the package's
    """
    found: dict[str, None] = {}
    for kind in cls.__mro__:
        parameters = inspect.signature(kind).parameters.values()
        found |= {p.name: None for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if kind.__module__.startswith("sb3_ppo_variants."):
            break
    return list(found)


def setting_names(cls: type[SafeAlgorithm]) -> list[str]:
    """
    :param cls: An algorithm
    :return: the arguments that a file holds as settings
    """
    return [name for name in argument_names(cls) if name not in _NO_SETTINGS]


def attribute_of(name: str) -> str:
    """
    :param name: An argument
    :return: the attribute in which SB3 stores it
    """
    return "_stats_window_size" if name == "stats_window_size" else name


def setting_as_data(name: str, value: Any) -> Any:
    """
    :param name: An argument
    :param value: Its value; a schedule becomes its parameters
    :return: a JSON value
    :raises ValueError: it is code: a function, or an object of any other class
    """
    if isinstance(value, FloatSchedule):
        return setting_as_data(name, value.value_schedule)
    if type(value) is ConstantSchedule:
        return setting_as_data(name, value.val)
    if type(value) is LinearSchedule:
        parts = {part: setting_as_data(name, getattr(value, part)) for part in ("start", "end", "end_fraction")}
        return {"schedule": "linear", **parts}
    if type(value) is KLAdaptiveRate:
        return {"schedule": "kl", **setting_as_data(name, asdict(value))}
    return plain(name, value)


def setting_from_data(name: str, data: Any, is_coefficient: bool) -> Any:
    """
    :param name: An argument
    :param data: A JSON value
    :param is_coefficient: Whether it may be a schedule
    :return: the argument's value
    :raises SafeFileError: it is an object, but no valid schedule
    """
    if not (is_coefficient and isinstance(data, dict)):
        return data
    if data.get("schedule") == "kl":
        return _kl_adaptive_rate_from_data(name, data)
    mapping(data, name, ("schedule", "start", "end", "end_fraction"))
    text(data["schedule"], f"{name}'s schedule", ("linear", "kl"))
    start, end, fraction = (real(data[part], f"{name}'s {part}") for part in ("start", "end", "end_fraction"))
    if not 0 < fraction <= 1:
        raise SafeFileError(f"{name}'s end_fraction is {fraction}: it must be above 0 and at most 1.")
    if name == "learning_rate" and start < 0:  # torch's optimisers are made with it
        raise SafeFileError(f"learning_rate starts at {start}: it must not be negative.")
    return LinearSchedule(start, end, fraction)


def _kl_adaptive_rate_from_data(name: str, data: dict[str, Any]) -> KLAdaptiveRate:
    parts = [field.name for field in fields(KLAdaptiveRate)]
    mapping(data, name, ("schedule", *parts))
    given: dict[str, Any] = {
        part: data[part] if part == "every" or data[part] is None else real(data[part], f"{name}'s {part}")
        for part in parts
    }
    try:
        return KLAdaptiveRate(**given)
    except (ValueError, TypeError) as error:
        raise SafeFileError(f"{name}: {error}"[:400]) from error


def policy_kwargs_as_data(policy_kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    :param policy_kwargs: Argument of the algorithm
    :return: JSON values; classes of torch and SB3 by name
    :raises ValueError: it contains other code
    """
    data = {}
    for name, value in policy_kwargs.items():
        known = isinstance(value, type) and CLASSES.get(name, {}).get(value.__name__) is value
        data[name] = value.__name__ if known else plain("policy_kwargs", value)
    return data


def policy_kwargs_from_data(data: Any, policy_class: type) -> dict[str, Any]:
    """
    :param data: JSON values
    :param policy_class: The policy
    :return: arguments of the policy
    """
    kwargs = dict(mapping(data, "policy_kwargs", optional=policy_argument_names(policy_class)))
    for name, classes in CLASSES.items():
        if name in kwargs:
            kwargs[name] = classes[text(kwargs[name], name, classes)]
    return kwargs


def policy_argument_names(policy_class: type) -> Collection[str]:
    """
    :param policy_class: A policy
    :return: the keys that ``policy_kwargs`` may have
    """
    own = inspect.signature(policy_class).parameters
    passed_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    names = set(own) | (set(inspect.signature(ActorCriticPolicy).parameters) if passed_on else set())
    return names - _NOT_KWARGS - {"args", "kwargs"}


def plain(name: str, value: Any) -> Any:
    """
    :param name: The argument that it is, or is part of, for the message
    :param value: Anything
    :return: it as a JSON value: finite numbers, strings, and lists and dictionaries of them
    :raises ValueError: it is anything else
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    if isinstance(value, float):
        raise ValueError(
            f"{name}: {value!r} cannot be written to a safe file, whose numbers are finite. Assign what means the "
            "same: None for max_grad_norm and target_kl, -1 for sde_sample_freq."
        )
    if isinstance(value, list | tuple):
        return [plain(name, entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(name, entry) for key, entry in value.items()}
    raise ValueError(
        f"{name}: {value!r} cannot be written to a safe file, which holds numbers and names but no code. Assign a "
        f'number, a string like "lin_0.001" or an SB3 LinearSchedule; or save_safe(path, exclude=["{name}"]) and give '
        f"it again: load_safe(path, {name}=...)."
    )
