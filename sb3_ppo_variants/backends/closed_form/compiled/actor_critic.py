"""SB3's MLP actor-critic in compiled functions, on the memory of its torch parameters."""

import math
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_variants.backends.closed_form.actor_critic import ClosedFormActorCritic, Evaluated, Slopes
from sb3_ppo_variants.backends.closed_form.binding import BoundAdam
from sb3_ppo_variants.backends.closed_form.compiled.loading import kernels
from sb3_ppo_variants.backends.closed_form.network import ACTIVATIONS, MLP
from sb3_ppo_variants.distributions import Parameters

#: What a kernel is given in place of an absent array.
NO_VECTOR, NO_MATRIX = np.empty(0, np.float32), np.empty((0, 1), np.float32)
NO_MASKS = np.empty((0, 0), np.bool_)


def writable(features: np.ndarray) -> np.ndarray:
    """
    :param features: What the networks are given
    :return: the same as the kernels take it: in one piece, in memory that is not read-only
    """
    return features if features.flags.carray else np.array(features, order="C")


class CompiledMLP(MLP):
    """
    ``MLP`` whose forward pass is compiled.

    :param network: The same in numpy, on the parameters' memory
    :param parameters: That memory, shape (P,)
    :param start: Where the network's parameters begin in it
    """

    def __init__(self, network: MLP, parameters: np.ndarray, start: int):
        super().__init__(network.layers, network.activation)
        self.parameters = parameters
        widths = [network.layers[0].weight.shape[1], *(len(layer.bias) for layer in network.layers)]
        #: As the kernels take a network.
        self.table = np.array([start, *widths], np.int64)
        #: Room for the copy of a transposed weight.
        self.spare = np.empty(max(layer.weight.size for layer in network.layers), np.float32)
        self.activation_number = kernels.TANH if network.activation is ACTIVATIONS[th.nn.Tanh] else kernels.RELU

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        buffers = self.buffers(len(x))
        x = writable(x)
        kernels.forward(self.parameters, self.table, x, buffers.passed, self.spare, self.activation_number)
        return [x, *buffers.outputs]


class CompiledActorCritic(ClosedFormActorCritic):
    """``ClosedFormActorCritic`` in two compiled functions a minibatch: to log π, and from the head's slopes on."""

    pi: CompiledMLP
    vf: CompiledMLP

    def __init__(self, policy: ActorCriticPolicy):
        super().__init__(policy)
        self.spare = max(self.pi.spare, self.vf.spare, key=len)

    def _network(self, start: int, stop: int) -> CompiledMLP:
        return CompiledMLP(super()._network(start, stop), self.bound.flat, self.bound.span(start, stop).start)

    def evaluate(
        self, features: np.ndarray, actions: np.ndarray, action_masks: np.ndarray | None, with_values: bool
    ) -> Evaluated:
        n_rows, number = len(features), self.pi.activation_number
        pi, vf = self.pi.buffers(n_rows), self.vf.buffers(n_rows) if with_values else None
        log_prob, entropy = np.empty(n_rows, np.float32), np.empty(n_rows, np.float32)
        output = pi.outputs[-1]
        networks = self.bound.flat, self.pi.table, self.vf.table
        buffers = pi.passed, NO_VECTOR if vf is None else vf.passed, self.spare, log_prob, entropy
        if self.log_std is not None:
            parameters: Parameters = output, self.log_std
            slopes: Parameters = np.empty_like(output), np.empty_like(output)
            kernels.evaluate_gaussian(*networks, self.log_std, features, actions, *buffers, *slopes, number)
        else:
            parameters, slopes = (output,), (np.empty_like(output),)
            masks = NO_MASKS if action_masks is None else action_masks
            kernels.evaluate_categorical(*networks, masks, features, actions, *buffers, *slopes, number)
        passed = [features, *pi.outputs]
        return Evaluated(passed, None if vf is None else [features, *vf.outputs], parameters, log_prob, slopes, entropy)

    def backward(self, evaluated: Evaluated, slopes: Slopes) -> None:
        kernels.backward(*self._backward_arguments(evaluated, slopes))

    def step(
        self, evaluated: Evaluated, slopes: Slopes, adams: list[BoundAdam], max_grad_norm: float | None
    ) -> float | None:
        if len(adams) > 1:  # their gradients have one norm
            return super().step(evaluated, slopes, adams, max_grad_norm)
        (adam,) = adams
        group = adam.group
        norm: float = kernels.step(
            *self._backward_arguments(evaluated, slopes),
            *(adam.flat, adam.gradient, adam.first, adam.second, adam.steps),
            *(math.inf if max_grad_norm is None else max_grad_norm, group["lr"], *group["betas"], group["eps"]),
            group["weight_decay"],
        )
        return norm if math.isfinite(norm) else None

    def _backward_arguments(self, evaluated: Evaluated, slopes: Slopes) -> tuple[Any, ...]:
        features, log_prob_slopes = evaluated.pi[0], evaluated.slopes
        pi, vf = self.pi.buffers(len(features)), self.vf.buffers(len(features))
        log_std_slopes, log_std_gradient = NO_MATRIX, NO_VECTOR
        if self._log_std_gradient is not None:
            log_std_slopes, log_std_gradient = log_prob_slopes[1], self._log_std_gradient
        others = [NO_MATRIX, NO_MATRIX]
        for number in range(len(log_prob_slopes) if slopes.others else 0):
            others[number] = np.ascontiguousarray(sum(term[number] for term in slopes.others), np.float32)
        return (
            *(self.bound.flat, self.bound.gradient, self.pi.table, self.vf.table, features, pi.passed, vf.passed),
            *(
                log_prob_slopes[0],
                log_std_slopes,
                log_std_gradient,
                evaluated.entropy,
                slopes.log_prob,
                slopes.entropy,
                *others,
            ),
            NO_VECTOR if slopes.values is None else slopes.values,
            *(pi.slopes, vf.slopes, self.pi.activation_number),
        )
