"""The categorical head (Discrete actions)."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of, row_maxima, row_sums
from sb3_ppo_variants.distributions.head import Parameters


def log_softmax(logits: Array) -> Array:
    """
    :param logits: shape (B, D)
    :return: log p = logits − log Σ exp(logits), shape (B, D)
    """
    xp = namespace_of(logits)
    shifted = logits - row_maxima(logits)[..., None]
    return shifted - xp.log(row_sums(xp.exp(shifted)))[..., None]


@dataclass(frozen=True)
class Categorical:
    """
    One choice of D; parameters (log p,), shape (B, D).

    The caller normalises once, with ``log_softmax``, for all functions. Only ``kl``, ``kl_slope`` and the reference
    of ``reverse_kl_slope`` also take logits that are not normalised. Slopes are with respect to the logits.
    """

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """log p of the action; actions: integers, shape (B,)."""
        (log_p,) = parameters
        return log_p[namespace_of(log_p).arange(len(log_p)), actions]

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """∂/∂ logits = onehot(a) − p."""
        (log_p,) = parameters
        xp = namespace_of(log_p)
        slope = -xp.exp(log_p)
        slope[xp.arange(len(log_p)), actions] += 1
        return self.log_prob(parameters, actions), (slope,)

    def entropy(self, parameters: Parameters) -> Array:
        """H = −Σ_D p·log p."""
        (log_p,) = parameters
        return -row_sums(namespace_of(log_p).exp(log_p) * log_p)

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """∂/∂ logits = −p·(log p + H)."""
        (log_p,) = parameters
        return (-namespace_of(log_p).exp(log_p) * (log_p + self.entropy(parameters)[:, None]),)

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """(diag(p) − p·pᵀ)·t = p·(t − Σ p·t)."""
        p = namespace_of(parameters[0]).exp(parameters[0])
        return (p * (tangent[0] - row_sums(p * tangent[0])[:, None]),)

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_D p_old·(log p_old − log p)."""
        xp = namespace_of(new[0])
        old_log_p, log_p = log_softmax(old[0]), log_softmax(new[0])
        # An action that the old policy could not take (logit −inf) contributes nothing: lim p·log p = 0.
        impossible = xp.isinf(old_log_p)
        zeros = xp.zeros_like(log_p)
        log_odds = xp.where(impossible, zeros, old_log_p) - xp.where(impossible, zeros, log_p)
        return row_sums(xp.exp(old_log_p) * log_odds)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂ logits = p − p_old."""
        xp = namespace_of(new[0])
        return (xp.exp(log_softmax(new[0])) - xp.exp(log_softmax(old[0])),)

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """∂/∂ logits = p·(log p/p_ref − KL(new‖reference)), which is the Fisher product of the logits' difference."""
        return self.fisher_product(new, (new[0] - reference[0],))

    def averaged_dims(self, parameters: Parameters) -> int:
        """1: there is one action dimension."""
        return 1
