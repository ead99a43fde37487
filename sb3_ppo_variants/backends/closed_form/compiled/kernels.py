"""The compiled functions. Importing this module loads them from numba's disk cache, or compiles them.

All are in one file, because numba compiles a function anew when *its* file changes, not when a function that it calls
does. Their signatures are given, so that arrays of another type are an error and not another compilation. Networks are
passed as int64 arrays: where their parameters begin in the layout, then the units of each layer, from input to output.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import boolean, float32, float64, int64, void

_vector, _matrix, _masks = float32[::1], float32[:, ::1], boolean[:, ::1]
_integers = int64[::1]

#: Without ``nnan`` and ``ninf``: with them the compiler assumes that there is no NaN and no Inf, and nothing sees one.
#: Python's own error model checks every division for zero, which keeps loops from being vectorised.
_FLAGS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}

#: Numbers of the activations.
TANH, RELU = 0, 1

_LOG_SQRT_2_PI = np.float32(0.5 * math.log(2 * math.pi))
_MASKED_LOGIT = np.float32(-1e8)


def _entry(*signature: Any, returns: Any = void) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function that Python calls: compiled for this signature, and kept on disk."""
    return numba.njit(returns(*signature), cache=True, **_FLAGS)


_part = numba.njit(**_FLAGS)

# ---- A network, forwards and backwards ----


@_part
def _tanh(x):
    # The rational function that Eigen and XLA use, within 3e-7 of tanh, since it is vectorised. Where tanh is ±1 so is
    # this, and its slope 0; NaN passes both comparisons.
    limit = float32(7.90531110763549805)
    y = x * x
    p = float32(-2.76076847742355e-16)
    p = p * y + float32(2.00018790482477e-13)
    p = p * y + float32(-8.60467152213735e-11)
    p = p * y + float32(5.12229709037114e-08)
    p = p * y + float32(1.48572235717979e-05)
    p = p * y + float32(6.37261928875436e-04)
    p = p * y + float32(4.89352455891786e-03)
    q = float32(1.19825839466702e-06)
    q = q * y + float32(1.18534705686654e-04)
    q = q * y + float32(2.26843463243900e-03)
    q = q * y + float32(4.89352518554385e-03)
    h = x * p / q
    h = float32(1) if x > limit else h
    return float32(-1) if x < -limit else h


@_part
def _add_bias(z, bias):
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += bias[j]


@_part
def _activate(z, bias, activation):
    if activation == TANH:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = _tanh(z[i, j] + bias[j])
    else:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                x = z[i, j] + bias[j]
                z[i, j] = float32(0) if x < 0 else x


@_part
def _chain(d, h, activation):
    if activation == TANH:
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                d[i, j] *= float32(1) - h[i, j] * h[i, j]
    else:
        for i in range(d.shape[0]):
            for j in range(d.shape[1]):
                d[i, j] *= float32(h[i, j] > 0)


@_part
def _column_sums(d, out):
    out[:] = 0
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            out[j] += d[i, j]


@_part
def _forward(parameters, network, x, passed, spare, activation):
    """Write each layer's output into ``passed``, one after the other, and return the last."""
    n_rows, at, offset = x.shape[0], network[0], 0
    for layer in range(1, len(network) - 1):
        n_in, n_out = network[layer], network[layer + 1]
        weight = parameters[at : at + n_in * n_out].reshape((n_out, n_in))
        at += n_in * n_out
        bias = parameters[at : at + n_out]
        at += n_out
        out = passed[offset : offset + n_rows * n_out].reshape((n_rows, n_out))
        offset += n_rows * n_out
        if n_rows == 1:
            np.dot(weight, x[0], out[0])
        elif n_rows >= 32 and n_out > 16:
            # BLAS multiplies by a transposed matrix at half its speed.
            copy = spare[: n_in * n_out].reshape((n_in, n_out))
            for j in range(n_out):
                for i in range(n_in):
                    copy[i, j] = weight[j, i]
            np.dot(x, copy, out)
        else:
            np.dot(x, weight.T, out)
        if layer < len(network) - 2:
            _activate(out, bias, activation)
        else:
            _add_bias(out, bias)
        x = out
    return x


@_part
def _backward(parameters, gradient, network, x, passed, d_out, slopes, activation):
    """Write ∂L/∂ parameters of one network into ``gradient``, given ∂L/∂ output."""
    n_rows, at, offset = x.shape[0], network[0], 0
    for layer in range(1, len(network) - 1):
        at += network[layer] * network[layer + 1] + network[layer + 1]
        offset += n_rows * network[layer + 1]
    offset -= n_rows * network[len(network) - 1]
    for layer in range(len(network) - 2, 0, -1):
        n_in, n_out = network[layer], network[layer + 1]
        at -= n_in * n_out + n_out
        _column_sums(d_out, gradient[at + n_in * n_out : at + n_in * n_out + n_out])
        d_weight = gradient[at : at + n_in * n_out].reshape((n_out, n_in))
        if layer == 1:
            np.dot(d_out.T, x, d_weight)
            return
        offset -= n_rows * n_in
        given = passed[offset : offset + n_rows * n_in].reshape((n_rows, n_in))
        d_given = slopes[offset : offset + n_rows * n_in].reshape((n_rows, n_in))
        np.dot(d_out.T, given, d_weight)
        weight = parameters[at : at + n_in * n_out].reshape((n_out, n_in))
        if n_out == 1:
            for i in range(n_rows):
                for j in range(n_in):
                    d_given[i, j] = d_out[i, 0] * weight[0, j]
        else:
            np.dot(d_out, weight, d_given)
        _chain(d_given, given, activation)
        d_out = d_given


# ---- Heads ----


@_part
def _log_softmax(logits, masks):
    """In place."""
    n_rows, n_choices = logits.shape
    masked = masks.shape[0] == n_rows
    for i in range(n_rows):
        largest = -float32(np.inf)
        for j in range(n_choices):
            if masked and not masks[i, j]:
                logits[i, j] = _MASKED_LOGIT
            largest = logits[i, j] if logits[i, j] > largest else largest
        total = float32(0)
        for j in range(n_choices):
            logits[i, j] -= largest
            total += math.exp(logits[i, j])
        log_total = math.log(total)
        for j in range(n_choices):
            logits[i, j] -= log_total


@_part
def _log_std_gradient(gradient, of_log_std, d_log_prob, d_entropy, others):
    # H has slope 1 in every row.
    gradient[:] = float32(len(d_log_prob) * d_entropy)
    for i in range(len(d_log_prob)):
        for j in range(len(gradient)):
            gradient[j] += of_log_std[i, j] * d_log_prob[i]
    for i in range(len(others)):
        for j in range(len(gradient)):
            gradient[j] += others[i, j]


# ---- What Python calls ----


@_entry(_vector, _integers, _matrix, _vector, _vector, int64)
def forward(parameters, network, x, passed, spare, activation):
    """Each layer's output, one after the other in ``passed``."""
    _forward(parameters, network, x, passed, spare, activation)


_EVALUATED = _vector, _vector, _vector, _vector, _vector, _matrix


@_entry(_vector, _integers, _integers, _vector, _matrix, _matrix, *_EVALUATED, _matrix, int64)
def evaluate_gaussian(
    parameters, pi, vf, log_std, x, actions, pi_passed, vf_passed, spare, log_prob, entropy, of_mean, of_log_std,
    activation,
):  # fmt: skip
    """Forward to log π, its slopes with respect to mean and log σ, and H; V too, if ``vf_passed`` has room for it."""
    mean = _forward(parameters, pi, x, pi_passed, spare, activation)
    if len(vf_passed) > 0:
        _forward(parameters, vf, x, vf_passed, spare, activation)
    inverse_std = np.exp(-log_std)
    log_scale = len(log_std) * _LOG_SQRT_2_PI
    for j in range(len(log_std)):
        log_scale += log_std[j]
    entropy[:] = log_scale + len(log_std) * float32(0.5)
    for i in range(len(x)):
        total = float32(0)
        for j in range(len(log_std)):
            z = (actions[i, j] - mean[i, j]) * inverse_std[j]
            of_mean[i, j] = z * inverse_std[j]
            of_log_std[i, j] = z * z - float32(1)
            total += z * z
        log_prob[i] = float32(-0.5) * total - log_scale


@_entry(_vector, _integers, _integers, _masks, _matrix, _integers, *_EVALUATED, int64)
def evaluate_categorical(
    parameters, pi, vf, masks, x, actions, pi_passed, vf_passed, spare, log_prob, entropy, of_logits, activation
):
    """Forward to log π, its slope with respect to the logits, and H; the network's output becomes log p."""
    log_p = _forward(parameters, pi, x, pi_passed, spare, activation)
    if len(vf_passed) > 0:
        _forward(parameters, vf, x, vf_passed, spare, activation)
    _log_softmax(log_p, masks)
    for i in range(len(x)):
        total = float32(0)
        for j in range(log_p.shape[1]):
            p = math.exp(log_p[i, j])
            of_logits[i, j] = -p
            total -= p * log_p[i, j]
        of_logits[i, actions[i]] += float32(1)
        log_prob[i] = log_p[i, actions[i]]
        entropy[i] = total


_BACKWARD = (
    *(_vector, _vector, _integers, _integers, _matrix, _vector, _vector),
    *(_matrix, _matrix, _vector, _vector, _vector, float64, _matrix, _matrix, _vector),
    *(_vector, _vector, int64),
)
_ADAM = (*[_vector] * 5, *[float64] * 6)


@_entry(*_BACKWARD)
def backward(
    parameters, gradient, pi, vf, x, pi_passed, vf_passed,
    of_output, of_log_std, log_std_gradient, entropy, d_log_prob, d_entropy, other_output, other_log_std, d_values,
    pi_slopes, vf_slopes, activation,
):  # fmt: skip
    """
    ∂L/∂θ from the slopes of log π with respect to the head's parameters and those of L with respect to log π, to the
    entropy and to V; ``other_…`` are what further terms of L add. What is absent is passed as an array without rows.
    """
    d_output = np.empty_like(of_output)
    for i in range(len(x)):
        for j in range(d_output.shape[1]):
            d_output[i, j] = of_output[i, j] * d_log_prob[i]
    if len(of_log_std) > 0:
        _log_std_gradient(log_std_gradient, of_log_std, d_log_prob, d_entropy, other_log_std)
    elif d_entropy != 0:
        log_p = pi_passed[len(pi_passed) - d_output.size :].reshape(d_output.shape)
        for i in range(len(x)):
            for j in range(d_output.shape[1]):
                d_output[i, j] -= float32(d_entropy) * math.exp(log_p[i, j]) * (log_p[i, j] + entropy[i])
    if len(other_output) > 0:
        d_output += other_output
    _backward(parameters, gradient, pi, x, pi_passed, d_output, pi_slopes, activation)
    if len(d_values) > 0:
        _backward(parameters, gradient, vf, x, vf_passed, d_values.reshape((len(x), 1)), vf_slopes, activation)


@_entry(*_ADAM, returns=float64)
def clipped_adam(parameters, gradient, first, second, steps, max_norm, rate, beta1, beta2, eps, weight_decay):
    """
    A step of Adam along a gradient whose norm is limited; it is scaled in place.

    :return: the norm before clipping; if it is not finite, no step has been taken
    """
    norm = math.sqrt(np.dot(gradient, gradient))
    if not math.isfinite(norm):
        return norm
    scale = float32(min(max_norm / (norm + 1e-6), 1.0))
    steps += float32(1)
    t = float64(steps[0])
    step_size = float32(rate / (1.0 - beta1**t))
    root = float32(1.0 / math.sqrt(1.0 - beta2**t))
    b1, b2, c1, c2 = float32(beta1), float32(beta2), float32(1.0 - beta1), float32(1.0 - beta2)
    floor, decay = float32(eps), float32(weight_decay)
    for i in range(len(parameters)):
        gradient[i] *= scale
        # Not 0 times a parameter, which may be Inf.
        g = gradient[i] + decay * parameters[i] if decay != 0 else gradient[i]
        first[i] = b1 * first[i] + c1 * g
        second[i] = b2 * second[i] + c2 * g * g
        parameters[i] -= step_size * first[i] / (math.sqrt(second[i]) * root + floor)
    return norm


@_entry(*_BACKWARD, *_ADAM, returns=float64)
def step(
    parameters, gradient, pi, vf, x, pi_passed, vf_passed,
    of_output, of_log_std, log_std_gradient, entropy, d_log_prob, d_entropy, other_output, other_log_std, d_values,
    pi_slopes, vf_slopes, activation,
    stepped, gradient_of_stepped, first, second, steps, max_norm, rate, beta1, beta2, eps, weight_decay,
):  # fmt: skip
    """``backward``, then ``clipped_adam`` for those of the parameters that are stepped."""
    backward(
        parameters, gradient, pi, vf, x, pi_passed, vf_passed,
        of_output, of_log_std, log_std_gradient, entropy, d_log_prob, d_entropy, other_output, other_log_std, d_values,
        pi_slopes, vf_slopes, activation,
    )  # fmt: skip
    return clipped_adam(
        stepped, gradient_of_stepped, first, second, steps, max_norm, rate, beta1, beta2, eps, weight_decay
    )


@_entry(_vector, _integers, _vector, _matrix, _matrix, _vector, _vector, _matrix, int64, returns=float32)
def act_gaussian(parameters, pi, log_std, x, noise, passed, spare, actions, activation):
    """
    Actions mean + σ·noise.

    :return: the sum of the network's outputs, finite only if all are
    """
    mean = _forward(parameters, pi, x, passed, spare, activation)
    std = np.exp(log_std)
    total = float32(0)
    for i in range(len(x)):
        for j in range(len(log_std)):
            total += mean[i, j]
            actions[i, j] = mean[i, j] + std[j] * noise[i, j]
    return total


@_entry(_vector, _integers, _masks, _matrix, _matrix, _vector, _vector, _integers, int64, returns=float32)
def act_categorical(parameters, pi, masks, x, noise, passed, spare, actions, activation):
    """
    Actions as torch.multinomial draws them: argmax of p over standard exponentials.

    :return: the sum of the network's outputs, finite only if all are
    """
    logits = _forward(parameters, pi, x, passed, spare, activation)
    total = float32(0)
    for i in range(len(x)):
        for j in range(logits.shape[1]):
            total += logits[i, j]
    if not math.isfinite(total):
        return total
    _log_softmax(logits, masks)
    for i in range(len(x)):
        best = -float32(np.inf)
        actions[i] = 0
        for j in range(logits.shape[1]):
            score = math.exp(logits[i, j]) / noise[i, j]
            if score > best:
                best = score
                actions[i] = j
    return total
