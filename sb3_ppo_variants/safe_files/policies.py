"""Checks of the policy that a file describes, before memory is allocated for it."""

import math
from typing import Any

import torch as th
from gymnasium import spaces
from torch.overrides import TorchFunctionMode

from sb3_ppo_variants.safe_files.schema import SafeFileError


def check_fits(policy_class: type, arguments: dict[str, Any], tensors: dict[str, th.Tensor]) -> None:
    """
    Build a policy without memory for its weights, and compare: a file that names huge layers has to hold their weights.

    :param policy_class: The policy
    :param arguments: Arguments of its constructor
    :param tensors: The file's tensors, by their names in the policy
    :raises SafeFileError: names, shapes or types differ, or no such policy can be made
    """
    widths = _n_numbers(arguments.get("net_arch"))
    if widths > len(tensors):
        raise SafeFileError(f"net_arch names {widths} layers, more than the file has tensors ({len(tensors)}).")
    try:
        with th.device("meta"), _KeepingThere():
            expected = policy_class(lr_schedule=lambda _: 1e-3, **arguments).state_dict()
    # A constructor may raise anything when given a stranger's arguments.
    except Exception as error:
        raise SafeFileError(
            f"No {policy_class.__name__} can be made as the file describes it: {type(error).__name__}: "
            f"{str(error)[:300]}. If that is a fault of the class's own, which has to be built on torch's meta device "
            "here, pass policy_kwargs to load_safe()."
        ) from error
    _compare({name: tuple(t.shape) for name, t in expected.items()}, {n: tuple(t.shape) for n, t in tensors.items()})
    is_double = any(tensor.dtype == th.float64 for tensor in tensors.values())
    for name, tensor in tensors.items():
        wanted = expected[name].dtype
        # policy.double() turns all floating tensors.
        if tensor.dtype != (th.float64 if is_double and wanted.is_floating_point else wanted):
            raise SafeFileError(f"{name} is of type {tensor.dtype}: {wanted} was expected.")


class _KeepingThere(TorchFunctionMode):
    """
    Keeps modules on the meta device, where they have shapes and types but no memory: SB3 would move layers to the
    policy's device, and torch would read the values of a distribution's parameters.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is th.Tensor.to and args[0].is_meta:
            return args[0]
        if getattr(func, "__name__", "") == "_is_all_true":
            return th.ones((), dtype=th.bool, device="cpu")
        return func(*args, **(kwargs or {}))


def check_rollout_size(state: dict[str, Any], at_most: int) -> None:
    """
    :param state: A model's attributes
    :param at_most: Limit in bytes
    :raises SafeFileError: its rollout buffer would be larger
    """
    n_steps, n_envs = state["n_steps"], state["n_envs"]
    n_bytes = n_steps * n_envs * (_row_bytes(state["observation_space"]) + _row_bytes(state["action_space"]) + 24)
    if n_bytes > at_most:
        raise SafeFileError(
            f"n_steps={n_steps} with {n_envs} environments asks for a rollout buffer of {n_bytes:.3g} bytes, more than "
            f"{at_most}: if that is meant, pass n_steps to load_safe()."
        )


def _row_bytes(space: spaces.Space) -> int:
    if isinstance(space, spaces.Dict):
        return sum(map(_row_bytes, space.spaces.values()))
    return (8 if space.dtype is None else max(4, space.dtype.itemsize)) * math.prod(map(int, space.shape or ()))


def _compare(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if found.get(name) != shape:
            has = f"the file's has {found[name]}" if name in found else "the file has none"
            raise SafeFileError(f"The policy's {name} has shape {shape}; {has}.")
    unknown = sorted(found.keys() - expected.keys())
    if unknown:
        raise SafeFileError(f"The file has {unknown[0][:80]!r}, which the policy does not have.")


def _n_numbers(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_n_numbers, value.values()))
    return sum(map(_n_numbers, value)) if isinstance(value, list) else int(isinstance(value, int))
