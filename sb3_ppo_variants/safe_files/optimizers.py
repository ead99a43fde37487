"""An optimiser's state: its moments as tensors, its parameter groups as JSON values."""

import inspect
import re
from typing import Any

import torch as th

from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping, sequence
from sb3_ppo_variants.safe_files.settings import plain

PREFIX = "optimizer."
_NAME = re.compile(r"optimizer\.(\d{1,9})\.([a-z_]{1,64})")
#: What torch's schedulers of learning rates leave in parameter groups, of which the optimiser makes no use.
_OF_SCHEDULERS = {"initial_lr", "min_lr", "max_lr", "swa_lr", "base_momentum", "max_momentum"}
#: State of each parameter in torch's Adam and its subclasses. Of other optimisers, anything of a fitting shape is read.
_OF_ADAM = {"step", "exp_avg", "exp_avg_sq"}


def optimizer_as_data(optimizer: th.optim.Optimizer) -> tuple[list[dict[str, Any]], dict[str, th.Tensor]]:
    """
    :param optimizer: The policy's optimiser
    :return: its parameter groups, and the tensors of its state by name
    :raises ValueError: its state holds something other than tensors
    """
    state = optimizer.state_dict()
    tensors = {}
    for number, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, th.Tensor):
                tensors[f"{PREFIX}{number}.{name}"] = value
            elif value is not None:
                raise ValueError(
                    f"{type(optimizer).__name__} keeps {name}={value!r}, no tensor, for which the safe format has no "
                    "place: use save()."
                )
    groups = [{n: value for n, value in group.items() if n not in _OF_SCHEDULERS} for group in state["param_groups"]]
    return [plain("the optimiser's settings", group) for group in groups], tensors


def optimizer_state_from_data(
    data: Any, tensors: dict[str, th.Tensor], optimizer: th.optim.Optimizer
) -> dict[str, Any]:
    """
    :param data: The parameter groups, as JSON values
    :param tensors: The file's tensors whose names begin with ``PREFIX``
    :param optimizer: The new policy's optimiser
    :return: argument of its ``load_state_dict``
    :raises SafeFileError: groups or tensors do not fit the optimiser
    """
    template = optimizer.state_dict()["param_groups"]
    groups = sequence(data, "param_groups", len(template))
    if len(groups) != len(template):
        raise SafeFileError(f"The file's optimiser has {len(groups)} parameter groups; this one has {len(template)}.")
    filled = [_group(group, like, optimizer) for group, like in zip(groups, template, strict=True)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, th.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) >= len(parameters):
            raise SafeFileError(f"The file has {name[:80]!r}, which is no part of an optimiser's state.")
        state.setdefault(int(match[1]), {})[match[2]] = _moment(name, tensor, parameters[int(match[1])])
    for number, entries in state.items():
        kinds = [set(other) for other in (entries, next(iter(state.values())))]
        if kinds[0] != kinds[1] or (isinstance(optimizer, th.optim.Adam) and not kinds[0] >= _OF_ADAM):
            raise SafeFileError(f"The optimiser's state of parameter {number} has only {', '.join(sorted(entries))}.")
    return {"state": state, "param_groups": filled}


def _group(data: Any, like: dict[str, Any], optimizer: th.optim.Optimizer) -> dict[str, Any]:
    """A parameter group; keys that the writer's torch did not have keep the values of ``like``."""
    mapping(data, "a parameter group", ("params", "lr"), like)
    if data["params"] != like["params"]:
        raise SafeFileError("The file's optimiser groups the parameters in another way.")
    group = dict(like)
    for name, value in data.items():
        group[name] = _like(value, like[name], f"the optimiser's {name}")
    if group["lr"] < 0:
        raise SafeFileError(f"The optimiser's lr is {group['lr']}: it must not be negative.")
    _check_by_construction(type(optimizer), group)
    return group


def _like(value: Any, example: Any, where: str) -> Any:
    if isinstance(example, tuple):
        return tuple(_like(entry, 0.0, where) for entry in sequence(value, where, len(example)))
    numbers = (int, float)
    both_numbers = isinstance(value, numbers) and isinstance(example, numbers)
    same_kind = both_numbers and isinstance(value, bool) == isinstance(example, bool)
    optional = None in (value, example) and isinstance(value if example is None else example, bool | None)
    if not (same_kind or optional or (where.endswith("params") and isinstance(value, list))):
        raise SafeFileError(f"{where} is {str(value)[:80]}: it must be like {example!r}.")
    return value


def _check_by_construction(optimizer_class: type[th.optim.Optimizer], group: dict[str, Any]) -> None:
    """Let the optimiser's constructor check betas and the like."""
    arguments = inspect.signature(optimizer_class).parameters
    settings = {name: value for name, value in group.items() if name in arguments and name != "params"}
    try:
        optimizer_class([th.zeros(1)], **settings)
    except Exception as error:
        raise SafeFileError(f"The file's {optimizer_class.__name__} cannot be: {str(error)[:200]}") from error


def _moment(name: str, tensor: th.Tensor, parameter: th.Tensor) -> th.Tensor:
    if tensor.shape not in (parameter.shape, th.Size([])) or not tensor.is_floating_point():
        raise SafeFileError(f"{name} has shape {tuple(tensor.shape)}; its parameter has {tuple(parameter.shape)}.")
    if not bool(th.isfinite(tensor).all()):
        raise SafeFileError(f"{name} is not finite.")
    if name.endswith(("_sq", "step", "square_avg")) and bool((tensor < 0).any()):
        raise SafeFileError(f"{name} is negative.")
    return tensor
