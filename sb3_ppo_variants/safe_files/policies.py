"""The policy that a file describes, weighed on paper before anything is allocated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch as th
from gymnasium import spaces
from torch.overrides import TorchFunctionMode

from sb3_ppo_variants.safe_files.schema import SafeFileError


def check_fits(
    policy_class: type, arguments: dict[str, Any], tensors: dict[str, th.Tensor], make_lr: Callable[[float], float]
) -> None:
    """
    Build a policy without memory for its numbers, and compare: a file that names huge layers has to bring them.

    :param policy_class: The policy
    :param arguments: Of its constructor
    :param tensors: The file's, by their names in the policy
    :param make_lr: A learning-rate schedule
    :raises SafeFileError: names, shapes or types differ, or there can be no such policy
    """
    widths = _n_numbers(arguments.get("net_arch"))
    if widths > len(tensors):
        raise SafeFileError(f"net_arch names {widths} layers, more than the file has tensors ({len(tensors)}).")
    try:
        with on_paper():
            policy = policy_class(lr_schedule=make_lr, **arguments)
            expected = policy.state_dict()
    # Whatever the constructor makes of a stranger's arguments.
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


@contextmanager
def on_paper() -> Iterator[None]:
    """Modules made within have shapes and types but no numbers, and take no memory."""
    with th.device("meta"), _KeepingThere():
        yield


class _KeepingThere(TorchFunctionMode):
    """SB3 moves layers to the policy's device, and torch looks at the values that a distribution is given."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is th.Tensor.to and args[0].is_meta:
            return args[0]
        if getattr(func, "__name__", "") == "_is_all_true":
            return th.ones((), dtype=th.bool, device="cpu")
        return func(*args, **(kwargs or {}))


def check_rollout_size(
    n_steps: int, n_envs: int, observation_space: spaces.Space, action_space: spaces.Space, at_most: int
) -> None:
    """
    :param n_steps: T
    :param n_envs: E
    :param observation_space: Of the environments
    :param action_space: Of the environments
    :param at_most: Bytes
    :raises SafeFileError: the rollout buffer would be larger
    """
    n_bytes = n_steps * n_envs * (_row_bytes(observation_space) + _row_bytes(action_space) + 24)
    if n_bytes > at_most:
        raise SafeFileError(
            f"n_steps={n_steps} with {n_envs} environments asks for a rollout buffer of {n_bytes:.3g} bytes, more than "
            f"{at_most}: if that is meant, pass n_steps to load_safe()."
        )


def _row_bytes(space: spaces.Space) -> int:
    if isinstance(space, spaces.Dict):
        return sum(map(_row_bytes, space.spaces.values()))
    n_entries = 1
    for side in space.shape or ():
        n_entries *= int(side)
    return 8 * n_entries if space.dtype is None else max(4, space.dtype.itemsize) * n_entries


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
