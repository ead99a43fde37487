"""Diagonal Gaussian head (Box actions)."""

from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.distributions.head import Parameters


@dataclass(frozen=True)
class Gaussian:
    """
    Independent normals; parameters (μ, log σ), both of shape (B, A).

    The KL between two Gaussians passed through one and the same bijection (tanh squashing) is the KL between the
    Gaussians; so this serves SB3's squashed head and squashed gSDE too.
    """

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_A ½[(e^u − 1 − u) + ((μ − μ_old)/σ)²], u = 2(log σ_old − log σ)."""
        xp = namespace_of(new[0])
        (old_mean, old_log_std), (mean, log_std) = old, new
        # The textbook form log σ/σ_old + (σ_old² + Δμ²)/2σ² − ½ cancels to rounding noise for the tiny KLs of one
        # update; with expm1 the small terms stay exact and the sum is never negative.
        u = 2 * (old_log_std - log_std)
        z = (mean - old_mean) * xp.exp(-log_std)
        return 0.5 * ((xp.expm1(u) - u) + z * z).sum(-1)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂μ = (μ − μ_old)/σ²; ∂/∂ log σ = 1 − (σ_old² + (μ − μ_old)²)/σ² = −(e^u − 1) − z²."""
        xp = namespace_of(new[0])
        (old_mean, old_log_std), (mean, log_std) = old, new
        inverse_std = xp.exp(-log_std)
        z = (mean - old_mean) * inverse_std
        return z * inverse_std, -xp.expm1(2 * (old_log_std - log_std)) - z * z

    def averaged_dims(self, parameters: Parameters) -> int:
        """A: sb3-contrib takes the mean over rows and action dimensions."""
        return int(parameters[0].shape[-1])
