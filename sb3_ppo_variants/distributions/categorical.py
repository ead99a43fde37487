"""Categorical head (Discrete actions)."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.distributions.head import Parameters


def log_softmax(logits: Array) -> Array:
    """
    :param logits: shape (B, D)
    :return: log p = logits − log Σ exp(logits), shape (B, D)
    """
    xp = namespace_of(logits)
    shifted = logits - xp.amax(logits, -1)[..., None]
    return shifted - xp.log(xp.exp(shifted).sum(-1))[..., None]


@dataclass(frozen=True)
class Categorical:
    """One choice of D; parameters (logits,), shape (B, D), normalised or not."""

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_D p_old·(log p_old − log p)."""
        xp = namespace_of(new[0])
        old_log_p, log_p = log_softmax(old[0]), log_softmax(new[0])
        terms = xp.exp(old_log_p) * (old_log_p - log_p)
        # A choice that the old policy could not take (logit −inf) adds nothing: lim p·log p = 0.
        return xp.where(xp.isinf(old_log_p), xp.zeros_like(terms), terms).sum(-1)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂ logits = p − p_old."""
        xp = namespace_of(new[0])
        return (xp.exp(log_softmax(new[0])) - xp.exp(log_softmax(old[0])),)

    def averaged_dims(self, parameters: Parameters) -> int:
        """1: there is one action dimension."""
        return 1
