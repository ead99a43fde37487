"""Torch parameters and Adam's moments whose memory numpy shares."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th


class SharedMemory:
    """
    Some tensors laid out one after the other in one numpy array, and made views of it.

    :param tensors: Contiguous CPU tensors of one dtype; their contents move into the array
    """

    def __init__(self, tensors: list[th.Tensor]):
        self.sizes = [tensor.numel() for tensor in tensors]
        self.shapes = [tuple(tensor.shape) for tensor in tensors]
        self.flat: np.ndarray = np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])
        parts = np.split(self.flat, np.cumsum(self.sizes)[:-1])
        self.arrays = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        self.views = [th.from_numpy(array) for array in self.arrays]
        self._addresses = [view.data_ptr() for view in self.views]

    def is_shared_by(self, tensors: Sequence[th.Tensor]) -> bool:
        """
        :param tensors: As given to the constructor, or the parameters whose data they were
        :return: whether each still lives where it was put
        """
        return all(tensor.data_ptr() == address for tensor, address in zip(tensors, self._addresses, strict=True))


class Inventory:
    """
    Which parameters and submodules a module has, so that a replaced, added or removed one is seen. It is checked
    after every step of a rollout with a user's callback, so the check must take only microseconds.

    :param module: The module
    """

    def __init__(self, module: th.nn.Module):
        holders: list[dict[str, Any]] = []
        for part in module.modules():
            holders += [part._parameters, part._modules]
        self._sizes = [(holder, len(holder)) for holder in holders]
        self._held = [(holder, name, thing) for holder in holders for name, thing in holder.items()]

    def is_complete(self) -> bool:
        """Whether all is as it was, object by object."""
        for holder, size in self._sizes:
            if len(holder) != size:
                return False
        for holder, name, thing in self._held:  # noqa: SIM110 (all() with a generator takes twice as long)
            if holder.get(name) is not thing:
                return False
        return True


class Attachments:
    """
    How many hooks and attributes of their own a module's parts have, so that one added or removed in the middle of a
    rollout is seen. It is checked after every step, as ``Inventory`` is.

    :param module: The module
    """

    def __init__(self, module: th.nn.Module):
        holders: list[dict[Any, Any]] = []
        for part in module.modules():
            holders += [vars(part), part._forward_hooks, part._forward_pre_hooks, part._backward_hooks]
        self._sizes = [(holder, len(holder)) for holder in holders]

    def are_unchanged(self) -> bool:
        """Whether there are as many as there were."""
        for holder, size in self._sizes:  # noqa: SIM110 (as in Inventory)
            if len(holder) != size:
                return False
        return True


class BoundParameters:
    """
    A list of parameters in shared memory, with a gradient of the same layout that is numpy's own.

    :param parameters: The parameters, in the order of the layout
    """

    def __init__(self, parameters: list[th.nn.Parameter]):
        self.parameters = parameters
        self.memory = SharedMemory([parameter.data for parameter in parameters])
        for parameter, view in zip(parameters, self.memory.views, strict=True):
            parameter.data = view
        self.flat = self.memory.flat
        self.gradient = np.zeros_like(self.flat)
        self._offsets = np.cumsum([0, *self.memory.sizes])
        self._gradient_views = [th.from_numpy(g) for g in self.shaped(self.gradient, 0, len(parameters))]

    def still_live_here(self) -> bool:
        """Whether the parameters' memory is still the shared one: a load, a copy or a user may have moved it."""
        return self.memory.is_shared_by(self.parameters)

    def show_gradient(self) -> None:
        """Let ``parameter.grad`` be the gradient, for callbacks that log it; autograd may have taken it away."""
        for parameter, view in zip(self.parameters, self._gradient_views, strict=True):
            if parameter.grad is not view:
                parameter.grad = view

    def span(self, start: int, stop: int) -> slice:
        """
        :param start: Number of the first parameter
        :param stop: Number of the one after the last
        :return: where they lie in a vector of the layout
        """
        return slice(int(self._offsets[start]), int(self._offsets[stop]))

    def shaped(self, vector: np.ndarray, start: int, stop: int) -> list[np.ndarray]:
        """
        :param vector: entries of some parameters in a row
        :param start: Number of the first of these parameters
        :param stop: Number of the one after the last
        :return: views of the vector, shaped like the parameters
        """
        parts = np.split(vector, (self._offsets[start + 1 : stop] - self._offsets[start]).tolist())
        return [part.reshape(shape) for part, shape in zip(parts, self.memory.shapes[start:stop], strict=True)]


class BoundAdam:
    """
    The step of ``torch.optim.Adam`` for bound parameters: torch's own fused kernel, once over the flat memory instead
    of once per parameter.

    Source: Kingma & Ba 2015, algorithm 1, as torch implements it (betas, eps, weight_decay of the group).

    :param optimizer: Adam, whose state becomes views of shared memory
    :param group: The group of its parameters that is stepped
    :param parameters: Parameters of this group, in the layout's order, all having taken the same number of steps
    :param flat: Their shared memory
    :param gradient: Where their gradient ∂loss/∂θ will be written, laid out alike
    """

    def __init__(
        self,
        optimizer: th.optim.Optimizer,
        group: dict[str, Any],
        parameters: list[th.nn.Parameter],
        flat: np.ndarray,
        gradient: np.ndarray,
    ):
        self.optimizer = optimizer
        self.group = group
        self.parameters = parameters
        state = optimizer.state
        for parameter in parameters:
            if not state[parameter]:
                zeros = th.zeros_like(parameter.data)
                state[parameter] = {"step": th.tensor(0.0, device="cpu"), "exp_avg": zeros, "exp_avg_sq": zeros}
        # A storage each: tensors that share one would each be saved with the whole of it. Where a file was read onto a
        # GPU, torch has moved the moments to their parameters and left the counts of steps there.
        self.memories = {
            name: SharedMemory([state[parameter][name].cpu() for parameter in parameters])
            for name in ("exp_avg", "exp_avg_sq", "step")
        }
        for name, memory in self.memories.items():
            for parameter, view in zip(parameters, memory.views, strict=True):
                state[parameter][name] = view
        self.flat, self.gradient = flat, gradient
        self.first, self.second, self.steps = (self.memories[n].flat for n in ("exp_avg", "exp_avg_sq", "step"))
        self._flat, self._gradient, self._first, self._second = (
            [th.from_numpy(array)] for array in (flat, gradient, self.first, self.second)
        )
        self._step = [self.memories["step"].views[0]]

    def is_current(self, optimizer: th.optim.Optimizer) -> bool:
        """
        :param optimizer: The policy's optimiser now
        :return: whether it is this one, with this group, and its moments still live where they were put
        """
        if optimizer is not self.optimizer or not any(group is self.group for group in optimizer.param_groups):
            return False
        for name, memory in self.memories.items():
            held = [optimizer.state.get(parameter, {}).get(name) for parameter in self.parameters]
            if not all(isinstance(tensor, th.Tensor) for tensor in held) or not memory.is_shared_by(held):
                return False
        return True

    def step(self) -> None:
        """Step along the gradient."""
        group = self.group
        beta1, beta2 = group["betas"]
        self.steps += 1
        th._fused_adam_(
            self._flat,
            self._gradient,
            self._first,
            self._second,
            [],
            self._step,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def clipped_step(adams: list[BoundAdam], max_grad_norm: float | None) -> float | None:
    """
    Step along a gradient whose norm is limited; it is scaled in place.

    :param adams: Adam for each run of parameters that is stepped
    :param max_grad_norm: Largest L2 norm over the runs together; ``None``: unlimited
    :return: the norm before clipping; ``None`` if it is not finite: no step has been taken
    """
    norm = math.sqrt(sum(float(np.dot(adam.gradient, adam.gradient)) for adam in adams))
    if not math.isfinite(norm):
        return None
    # torch's factor: max / (norm + 1e-6), at most 1.
    if max_grad_norm is not None and norm + 1e-6 > max_grad_norm:
        for adam in adams:
            adam.gradient *= max_grad_norm / (norm + 1e-6)
    for adam in adams:
        adam.step()
    return norm
