"""The Bernoulli head (MultiBinary actions)."""

from dataclasses import dataclass

import numpy as np
import torch as th

from sb3_ppo_variants.arrays import Array, namespace_of, row_sums
from sb3_ppo_variants.distributions.head import Parameters


def log_sigmoid(logits: Array) -> Array:
    """
    :param logits: any shape
    :return: log σ(l) = −log(1 + e^−l), without overflow for either sign, same shape
    """
    if isinstance(logits, th.Tensor):
        # TRPO differentiates twice, and logaddexp's second derivative is NaN where e^|l| overflows.
        return th.nn.functional.logsigmoid(logits)
    return -np.logaddexp(np.zeros_like(logits), -logits)


@dataclass(frozen=True)
class Bernoulli:
    """Independent yes/no actions; parameters (logits l,), shape (B, A), p = σ(l)."""

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """Σ_A a·log p + (1 − a)·log(1 − p); actions: 0 or 1, shape (B, A)."""
        (logits,) = parameters
        # log(1 − p) = log p − l, so the sum is a·l + log σ(−l).
        return row_sums(actions * logits + log_sigmoid(-logits))

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """∂/∂ l = a − p."""
        (logits,) = parameters
        return self.log_prob(parameters, actions), (actions - namespace_of(logits).exp(log_sigmoid(logits)),)

    def entropy(self, parameters: Parameters) -> Array:
        """Σ_A −p·log p − (1 − p)·log(1 − p)."""
        (logits,) = parameters
        # This is −log σ(−l) − p·l, since log p = log(1 − p) + l.
        return -row_sums(log_sigmoid(-logits) + logits * namespace_of(logits).exp(log_sigmoid(logits)))

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """∂/∂ l = −l·p·(1 − p)."""
        (logits,) = parameters
        xp = namespace_of(logits)
        return (-logits * xp.exp(log_sigmoid(logits) + log_sigmoid(-logits)),)

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """p·(1 − p)·t."""
        (logits,) = parameters
        return (tangent[0] * namespace_of(logits).exp(log_sigmoid(logits) + log_sigmoid(-logits)),)

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_A p_old·(log p_old − log p) + (1 − p_old)·(log(1 − p_old) − log(1 − p))."""
        xp = namespace_of(new[0])
        old_log_p, log_p = log_sigmoid(old[0]), log_sigmoid(new[0])
        old_log_q, log_q = log_sigmoid(-old[0]), log_sigmoid(-new[0])
        return row_sums(xp.exp(old_log_p) * (old_log_p - log_p) + xp.exp(old_log_q) * (old_log_q - log_q))

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂ l = p − p_old."""
        xp = namespace_of(new[0])
        return (xp.exp(log_sigmoid(new[0])) - xp.exp(log_sigmoid(old[0])),)

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """∂/∂ l = p·(1 − p)·(l − l_ref)."""
        return self.fisher_product(new, (new[0] - reference[0],))

    def averaged_dims(self, parameters: Parameters) -> int:
        """A: sb3-contrib takes the mean over rows and action dimensions."""
        return int(parameters[0].shape[-1])
