"""Checks of the policy that a file describes, before memory is allocated for it."""

import math
from typing import Any

import torch as th
from gymnasium import spaces
from torch.overrides import TorchFunctionMode

from sb3_ppo_variants.rollouts.masking import mask_sizes
from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping


def check_fits(policy_class: type, arguments: dict[str, Any], tensors: dict[str, th.Tensor]) -> None:
    """
    Build a policy without memory for its weights, and compare: a file that names huge layers has to hold their weights.

    :param policy_class: The policy
    :param arguments: Arguments of its constructor
    :param tensors: The file's tensors, by their names in the policy
    :raises SafeFileError: names, shapes or types differ, or no such policy can be made
    """
    for name, n_layers in (
        ("net_arch", _n_numbers(arguments.get("net_arch"))),
        ("n_lstm_layers", arguments.get("n_lstm_layers", 1)),
    ):
        if not isinstance(n_layers, int) or n_layers > len(tensors):
            raise SafeFileError(f"{name} names {n_layers!r} layers, more than the file has tensors ({len(tensors)}).")
    mapping(arguments.get("lstm_kwargs") or {}, "lstm_kwargs", optional=("bias", "dropout"))
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
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise SafeFileError(f"The file has {unknown[0][:80]!r}, which the policy does not have.")
    is_double = any(tensor.dtype == th.float64 for tensor in tensors.values())
    for name, like in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != like.shape:
            has = "the file has none" if found is None else f"the file's has {tuple(found.shape)}"
            raise SafeFileError(f"The policy's {name} has shape {tuple(like.shape)}; {has}.")
        # policy.double() turns all floating tensors.
        if found.dtype != (th.float64 if is_double and like.dtype.is_floating_point else like.dtype):
            raise SafeFileError(f"{name} is of type {found.dtype}: {like.dtype} was expected.")


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


def check_rollout_size(state: dict[str, Any], tensors: dict[str, th.Tensor], at_most: int, masks_at_most: int) -> None:
    """
    :param state: A model's attributes
    :param tensors: Its policy's, by name
    :param at_most: Limit in bytes
    :param masks_at_most: Limit of its action masks, in bytes
    :raises SafeFileError: its rollout buffer, or the masks in it, would be larger
    """
    n_steps, n_envs = state["n_steps"], state["n_envs"]
    n_units = sum(sum(tensors[name].shape[1:]) for name in tensors if name.startswith("lstm_actor.weight_hh_l"))
    # Hidden and cell states of actor and critic, in float32.
    row = _row_bytes(state["observation_space"]) + _row_bytes(state["action_space"]) + 24 + 16 * n_units
    mask = 4 * sum(mask_sizes(state["action_space"]) or []) * state["use_masking"]
    for what, row_bytes, limit in (("a rollout buffer", row, at_most), ("action masks", mask, masks_at_most)):
        n_bytes = n_steps * n_envs * row_bytes
        if n_bytes > limit:
            raise SafeFileError(
                f"n_steps={n_steps} with {n_envs} environments asks for {what} of {n_bytes:.3g} bytes, more than "
                f"{limit}: if that is meant, pass n_steps and env to load_safe()."
            )


def _row_bytes(space: spaces.Space) -> int:
    if isinstance(space, spaces.Dict):
        return sum(map(_row_bytes, space.spaces.values()))
    return (8 if space.dtype is None else max(4, space.dtype.itemsize)) * math.prod(map(int, space.shape or ()))


def _n_numbers(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_n_numbers, value.values()))
    return sum(map(_n_numbers, value)) if isinstance(value, list) else int(isinstance(value, int))
