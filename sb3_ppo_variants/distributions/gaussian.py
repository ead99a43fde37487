"""The diagonal Gaussian head (Box actions)."""

import math
from dataclasses import dataclass

from sb3_ppo_variants.arrays import Array, constants, namespace_of, row_sums
from sb3_ppo_variants.distributions.head import Parameters


@dataclass(frozen=True)
class Gaussian:
    """
    Independent normals; parameters (μ, log σ), both of shape (B, A), or log σ of shape (A,) for all rows.

    A bijection of the actions (tanh squashing) does not change a KL, so the KL is right for SB3's squashed Gaussian and
    squashed gSDE too.
    """

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """Σ_A −½z² − log σ − ½ log 2π, z = (a − μ)/σ."""
        return self.log_prob_and_slope(parameters, actions)[0]

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """Both from the same z; ∂/∂μ = z/σ, ∂/∂ log σ = z² − 1."""
        mean, log_std = parameters
        inverse_std = namespace_of(mean).exp(-log_std)
        z = (actions - mean) * inverse_std
        squared = z * z
        constant = 0.5 * math.log(2 * math.pi) * mean.shape[-1]
        log_prob = -0.5 * row_sums(squared) - (row_sums(log_std) + constant)
        return log_prob, (z * inverse_std, squared - 1)

    def entropy(self, parameters: Parameters) -> Array:
        """Σ_A log σ + ½ log 2πe."""
        mean, log_std = parameters
        n_rows, n_dims = mean.shape
        entropy = row_sums(log_std) + 0.5 * math.log(2 * math.pi * math.e) * n_dims
        return entropy + constants(0.0, (n_rows,), like=mean)

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """∂/∂μ = 0; ∂/∂ log σ = 1 per dimension; the same in all rows, so shaped like log σ."""
        log_std = parameters[1]
        return constants(0.0, log_std.shape, log_std), constants(1.0, log_std.shape, log_std)

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """diag(1/σ², 2) times (μ̇, log σ̇)."""
        return tangent[0] * namespace_of(tangent[0]).exp(-2 * parameters[1]), 2 * tangent[1]

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ_A ½[(e^u − 1 − u) + ((μ − μ_old)/σ)²], u = 2(log σ_old − log σ)."""
        xp = namespace_of(new[0])
        (old_mean, old_log_std), (mean, log_std) = old, new
        # For the tiny KLs of one update the textbook form log σ/σ_old + (σ_old² + Δμ²)/2σ² − ½ cancels to rounding
        # noise. With expm1 the small terms stay exact and the sum is never negative.
        u = 2 * (old_log_std - log_std)
        z = (mean - old_mean) * xp.exp(-log_std)
        return 0.5 * row_sums((xp.expm1(u) - u) + z * z)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂μ = (μ − μ_old)/σ²; ∂/∂ log σ = 1 − (σ_old² + (μ − μ_old)²)/σ² = −(e^u − 1) − z²."""
        xp = namespace_of(new[0])
        (old_mean, old_log_std), (mean, log_std) = old, new
        inverse_std = xp.exp(-log_std)
        z = (mean - old_mean) * inverse_std
        return z * inverse_std, -xp.expm1(2 * (old_log_std - log_std)) - z * z

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """∂/∂μ = (μ − μ_ref)/σ_ref²; ∂/∂ log σ = σ²/σ_ref² − 1."""
        xp = namespace_of(new[0])
        (fixed_mean, fixed_log_std), (mean, log_std) = reference, new
        return (mean - fixed_mean) * xp.exp(-2 * fixed_log_std), xp.expm1(2 * (log_std - fixed_log_std))

    def averaged_dims(self, parameters: Parameters) -> int:
        """A: sb3-contrib takes the mean over rows and action dimensions."""
        return int(parameters[0].shape[-1])
