"""A multilayer perceptron in numpy, on the very memory of its torch parameters: forward, backward, tangent."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th


class Activation(NamedTuple):
    """
    An elementwise function whose derivative is known from its output.

    :param apply: (z, out) writes f(z) into ``out``; they may be the same array
    :param chain: (d, h) multiplies d in place by f'(z), given h = f(z)
    """

    apply: Callable[[np.ndarray, np.ndarray], None]
    chain: Callable[[np.ndarray, np.ndarray], None]


def _tanh(z: np.ndarray, out: np.ndarray) -> None:
    np.tanh(z, out=out)


def _chain_tanh(d: np.ndarray, h: np.ndarray) -> None:
    # tanh' = 1 − h², as d − d·h²: one array fewer than multiplying by (1 − h²).
    change = h * h
    change *= d
    d -= change


def _relu(z: np.ndarray, out: np.ndarray) -> None:
    np.maximum(z, 0, out=out)


def _chain_relu(d: np.ndarray, h: np.ndarray) -> None:
    # 0 at the kink, as torch has it.
    np.multiply(d, h > 0, out=d)


def _sigmoid(z: np.ndarray, out: np.ndarray) -> None:
    # σ(z) = ½(1 + tanh(z/2)) cannot overflow.
    np.tanh(0.5 * z, out=out)
    out += 1
    out *= 0.5


def _chain_sigmoid(d: np.ndarray, h: np.ndarray) -> None:
    d *= h * (1 - h)


def _elu(z: np.ndarray, out: np.ndarray) -> None:
    negative = np.expm1(np.minimum(z, 0))
    np.maximum(z, 0, out=out)
    out += negative


def _chain_elu(d: np.ndarray, h: np.ndarray) -> None:
    # e^z = 1 + h below zero.
    d *= 1 + np.minimum(h, 0)


#: By module type; each is exactly the torch module with its default arguments.
ACTIVATIONS: dict[type[th.nn.Module], Activation] = {
    th.nn.Tanh: Activation(_tanh, _chain_tanh),
    th.nn.ReLU: Activation(_relu, _chain_relu),
    th.nn.Sigmoid: Activation(_sigmoid, _chain_sigmoid),
    th.nn.ELU: Activation(_elu, _chain_elu),
}


#: For how many different numbers of rows an MLP keeps its arrays.
KEPT_ROW_COUNTS = 8

#: From this many units on, torch's matrix product is the faster one (up to twice, at 512).
WIDE = 128

#: BLAS multiplies by a transposed matrix at half its speed. From this many rows and units on, copying pays off.
COPY_ROWS, COPY_UNITS = 32, 16


class LinearLayer(NamedTuple):
    """
    :param weight: shape (n_out, n_in)
    :param bias: shape (n_out,)
    """

    weight: np.ndarray
    bias: np.ndarray


def _torch_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    th.mm(th.from_numpy(a), th.from_numpy(b), out=th.from_numpy(out))
    return out


class Buffers(NamedTuple):
    """
    Arrays for passes over some number of rows, allocated once and overwritten at every pass.

    :param passed: The layers' outputs, one after the other
    :param outputs: Views of them, shape (B, n_out) each
    :param slopes: Slopes with respect to the hidden layers' outputs, one after the other; untouched memory until there
        is a backward pass
    :param hidden: Views of them
    :param ones: Shape (B,): a product with them sums over rows
    """

    passed: np.ndarray
    outputs: list[np.ndarray]
    slopes: np.ndarray
    hidden: list[np.ndarray]
    ones: np.ndarray


def _stacked(widths: list[int], n_rows: int, dtype: np.dtype) -> tuple[np.ndarray, list[np.ndarray]]:
    """Memory for matrices of these widths, one after the other, and each of them."""
    flat = np.empty(sum(widths) * n_rows, dtype)
    parts = np.split(flat, np.cumsum(widths[:-1]) * n_rows) if widths else []
    return flat, [part.reshape(n_rows, width) for part, width in zip(parts, widths, strict=True)]


class MLP:
    """
    x ↦ W_L·f(… f(W_1·x + b_1) …) + b_L, row by row.

    The weights are views of the parameters' memory, so that a step of the optimiser, a ``load_state_dict`` or a user's
    edit is seen at once.

    :param layers: From input to output
    :param activation: f, after every layer but the last
    """

    def __init__(self, layers: list[LinearLayer], activation: Activation):
        self.layers = layers
        self.activation = activation
        # Made once: views of the transposed weights that a forward pass multiplies with, and buffers for their copies.
        self._transposed = [layer.weight.T for layer in layers]
        self._copies = [np.empty_like(layer.weight.T, order="C") for layer in layers]
        widest = max(len(layer.bias) for layer in layers)
        self._product: Callable[..., np.ndarray] = _torch_product if widest >= WIDE else np.matmul
        self._buffers: dict[int, Buffers] = {}

    def buffers(self, n_rows: int) -> Buffers:
        """
        :param n_rows: B
        :return: what a pass over that many rows works in
        """
        buffers = self._buffers.get(n_rows)
        if buffers is None:
            # Row counts that change at every update (unfinished episodes left out) must not pile up.
            if len(self._buffers) >= KEPT_ROW_COUNTS:
                del self._buffers[next(iter(self._buffers))]
            dtype, widths = self.layers[0].weight.dtype, [len(layer.bias) for layer in self.layers]
            outputs, slopes = _stacked(widths, n_rows, dtype), _stacked(widths[:-1], n_rows, dtype)
            self._buffers[n_rows] = buffers = Buffers(*outputs, *slopes, np.ones(n_rows, dtype))
        return buffers

    def ones(self, n_rows: int) -> np.ndarray:
        """
        :param n_rows: As many rows as the last forward pass had
        :return: ones, shape (n_rows,): a product with them sums over rows
        """
        return self._buffers[n_rows].ones

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """
        :param x: shape (B, n_in)
        :return: what each layer was given, and the output last; valid until the next pass with as many rows
        """
        passed = [x]
        last = len(self.layers) - 1
        n_rows = len(x)
        copies = self._product is np.matmul and n_rows >= COPY_ROWS
        for index, out in enumerate(self.buffers(n_rows).outputs):
            layer = self.layers[index]
            if n_rows == 1:
                # Matrix times vector: half of what matmul takes.
                np.dot(layer.weight, x[0], out[0])
            elif copies and out.shape[1] > COPY_UNITS:
                np.copyto(self._copies[index], self._transposed[index])
                np.matmul(x, self._copies[index], out)
            else:
                self._product(x, self._transposed[index], out)
            np.add(out, layer.bias, out)
            if index < last:
                self.activation.apply(out, out)
            passed.append(out)
            x = out
        return passed

    def backward(self, passed: list[np.ndarray], d_out: np.ndarray, gradient: list[LinearLayer]) -> None:
        """
        :param passed: What ``forward`` returned
        :param d_out: ∂L/∂output, shape (B, n_out)
        :param gradient: ∂L/∂W and ∂L/∂b are written here
        """
        buffers = self._buffers[len(d_out)]
        for index in range(len(self.layers) - 1, -1, -1):
            given = passed[index]
            self._product(d_out.T, given, gradient[index].weight)
            # A vector-matrix product sums rows faster than sum(0).
            np.dot(buffers.ones, d_out, gradient[index].bias)
            if index > 0:
                weight, d_given = self.layers[index].weight, buffers.hidden[index - 1]
                # One output: an outer product, for which matmul takes twice as long.
                if len(weight) == 1:
                    np.multiply(d_out, weight, d_given)
                else:
                    self._product(d_out, weight, d_given)
                self.activation.chain(d_given, given)
                d_out = d_given

    def tangent(self, passed: list[np.ndarray], direction: list[LinearLayer]) -> np.ndarray:
        """
        How the output moves as the parameters move: J·v by forward differentiation.

        :param passed: What ``forward`` returned
        :param direction: v, by layer
        :return: J·v, shape (B, n_out)
        :raises ValueError: the network has no layers
        """
        moved: np.ndarray | None = None
        for index, (layer, v) in enumerate(zip(self.layers, direction, strict=True)):
            out = passed[index] @ v.weight.T
            out += v.bias
            if moved is not None:
                out += moved @ layer.weight.T
            if index < len(self.layers) - 1:
                self.activation.chain(out, passed[index + 1])
            moved = out
        if moved is None:
            raise ValueError("A network without layers has no output.")
        return moved
