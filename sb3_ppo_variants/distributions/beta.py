"""The Beta head (bounded Box actions)."""

import math
from dataclasses import dataclass

import numpy as np
import torch as th

from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.distributions.head import Parameters

#: Samples keep this distance from 0 and 1, where the density may be 0. The log-probability takes the same limits.
MARGIN = 1e-6


def softplus(outputs: th.Tensor) -> th.Tensor:
    """
    :param outputs: any shape
    :return: log(1 + e^o), same shape
    """
    # torch's own softplus is not exact above 20, and logaddexp's second derivative is NaN where e^|o| overflows.
    return -th.nn.functional.logsigmoid(-outputs)


def concentrations(outputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    :param outputs: The network's outputs, shape (B, 2A): those of α, then those of β
    :return: α and β, 1 + softplus of them, each of shape (B, A)
    """
    # Above 1, the density has one mode and neither KL nor entropy diverges.
    alpha, beta = (1 + softplus(outputs)).chunk(2, -1)
    return alpha, beta


def sample_beta(outputs: th.Tensor) -> th.Tensor:
    """
    :param outputs: The network's outputs, finite, shape (B, 2A)
    :return: actions in [−1, 1], shape (B, A), with the random numbers of ``torch.distributions.Beta.sample``
    """
    fractions = th._sample_dirichlet(th.stack(concentrations(outputs), -1))[..., 0]
    return 2 * fractions.clamp(MARGIN, 1 - MARGIN) - 1


def _double(array: Array) -> th.Tensor:
    # A copy, because torch warns of a numpy array that is read-only.
    return array.double() if isinstance(array, th.Tensor) else th.from_numpy(array.astype(np.float64))


def _like(array: Array, result: th.Tensor) -> Array:
    """The result in the caller's library (numpy or torch) and type."""
    return result.to(array.dtype) if isinstance(array, th.Tensor) else result.numpy().astype(array.dtype, copy=False)


def _log_beta(alpha: th.Tensor, beta: th.Tensor) -> th.Tensor:
    """log of the Beta function, log Γ(α) + log Γ(β) − log Γ(α + β)."""
    return th.lgamma(alpha) + th.lgamma(beta) - th.lgamma(alpha + beta)


def _slopes(alpha: th.Tensor, beta: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """∂ log B/∂α = ψ(α) − ψ(α + β), and the same for β: the means of log x and log(1 − x)."""
    of_sum = th.digamma(alpha + beta)
    return th.digamma(alpha) - of_sum, th.digamma(beta) - of_sum


def _curvatures(alpha: th.Tensor, beta: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """ψ′(α), ψ′(β), ψ′(α + β)."""
    return th.polygamma(1, alpha), th.polygamma(1, beta), th.polygamma(1, alpha + beta)


@dataclass(frozen=True)
class Beta:
    """
    Independent Betas, stretched from [0, 1] to [−1, 1]; parameters (o,), the network's outputs, shape (B, 2A).

    α is 1 + softplus(o) of the first A outputs, β of the others. x = (a + 1)/2 is Beta(α, β); the density of the action
    a = 2x − 1 is half of x's. ψ is the digamma function, B the Beta function. Slopes are with respect to the outputs.
    Everything is computed in float64, because large log Γ cancel, and returned in the type of the parameters.

    Source: Chou, Maturana & Scherer 2017, ICML, "Improving stochastic policy gradients in continuous control with deep
    reinforcement learning using the Beta distribution".
    """

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """Σ_A (α − 1)·log x + (β − 1)·log(1 − x) − log B(α, β) − log 2; actions in [−1, 1], shape (B, A)."""
        alpha, beta = concentrations(_double(parameters[0]))
        log_x, log_rest = self._logs(actions)
        log_prob = (alpha - 1) * log_x + (beta - 1) * log_rest - _log_beta(alpha, beta) - math.log(2)
        return _like(parameters[0], log_prob.sum(-1))

    def _logs(self, actions: Array) -> tuple[th.Tensor, th.Tensor]:
        x = ((_double(actions) + 1) / 2).clamp(MARGIN, 1 - MARGIN)
        return x.log(), th.log1p(-x)

    def _chained(self, parameters: Parameters, of_alpha: th.Tensor, of_beta: th.Tensor) -> Parameters:
        """From slopes with respect to α and β to those with respect to the outputs: times softplus′ = σ(o)."""
        sigmoid = th.sigmoid(_double(parameters[0]))
        return (_like(parameters[0], sigmoid * th.cat([of_alpha, of_beta], -1)),)

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """∂/∂α = log x − ψ(α) + ψ(α + β); ∂/∂β = log(1 − x) − ψ(β) + ψ(α + β)."""
        of_alpha, of_beta = _slopes(*concentrations(_double(parameters[0])))
        log_x, log_rest = self._logs(actions)
        slope = self._chained(parameters, log_x - of_alpha, log_rest - of_beta)
        return self.log_prob(parameters, actions), slope

    def entropy(self, parameters: Parameters) -> Array:
        """Σ_A log B − (α − 1)·∂ log B/∂α − (β − 1)·∂ log B/∂β + log 2."""
        alpha, beta = concentrations(_double(parameters[0]))
        of_alpha, of_beta = _slopes(alpha, beta)
        entropy = _log_beta(alpha, beta) - (alpha - 1) * of_alpha - (beta - 1) * of_beta + math.log(2)
        return _like(parameters[0], entropy.sum(-1))

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """∂/∂α = −(α − 1)·ψ′(α) + (α + β − 2)·ψ′(α + β), and the same for β."""
        alpha, beta = concentrations(_double(parameters[0]))
        at_alpha, at_beta, at_sum = _curvatures(alpha, beta)
        shared = (alpha + beta - 2) * at_sum
        return self._chained(parameters, shared - (alpha - 1) * at_alpha, shared - (beta - 1) * at_beta)

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """diag(ψ′(α), ψ′(β)) − ψ′(α + β) times (α̇, β̇) = σ(o)·t, chained back."""
        outputs = _double(parameters[0])
        at_alpha, at_beta, at_sum = _curvatures(*concentrations(outputs))
        alpha_moves, beta_moves = (th.sigmoid(outputs) * _double(tangent[0])).chunk(2, -1)
        shared = at_sum * (alpha_moves + beta_moves)
        return self._chained(parameters, at_alpha * alpha_moves - shared, at_beta * beta_moves - shared)

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_A log B − log B_old + (α_old − α)·∂ log B_old/∂α + (β_old − β)·∂ log B_old/∂β."""
        (old_alpha, old_beta), (alpha, beta) = (concentrations(_double(p[0])) for p in (old, new))
        of_alpha, of_beta = _slopes(old_alpha, old_beta)
        kl = _log_beta(alpha, beta) - _log_beta(old_alpha, old_beta)
        kl = kl + (old_alpha - alpha) * of_alpha + (old_beta - beta) * of_beta
        return _like(new[0], kl.sum(-1))

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂α = ∂ log B/∂α − ∂ log B_old/∂α, and the same for β."""
        old_slopes, new_slopes = (_slopes(*concentrations(_double(p[0]))) for p in (old, new))
        return self._chained(new, new_slopes[0] - old_slopes[0], new_slopes[1] - old_slopes[1])

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """∂/∂(α, β) = (diag(ψ′(α), ψ′(β)) − ψ′(α + β)) times (α − α_ref, β − β_ref)."""
        (fixed_alpha, fixed_beta), (alpha, beta) = (concentrations(_double(p[0])) for p in (reference, new))
        at_alpha, at_beta, at_sum = _curvatures(alpha, beta)
        shared = at_sum * (alpha - fixed_alpha + beta - fixed_beta)
        return self._chained(new, at_alpha * (alpha - fixed_alpha) - shared, at_beta * (beta - fixed_beta) - shared)

    def averaged_dims(self, parameters: Parameters) -> int:
        """A: one dimension per two outputs."""
        return int(parameters[0].shape[-1]) // 2
