"""The interface of every head."""

from typing import Protocol, TypeAlias

from sb3_ppo_variants.arrays import Array

#: The arrays that determine the distribution of each row, in the head's own order.
Parameters: TypeAlias = tuple[Array, ...]


class Head(Protocol):
    """
    The closed forms of one family of action distributions, as pure functions of its parameters.

    Each class says what its parameters are: mean and log σ, log-probabilities, logits, or the network's outputs. A
    ``slope`` is a derivative with respect to mean and log σ, to the logits, or to the outputs, row by row.
    """

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """
        :param parameters: The distribution of each row
        :param actions: The action taken in each row
        :return: log π(a|s), summed over action dimensions, shape (B,)
        """

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """
        :param parameters: as in ``log_prob``
        :param actions: as in ``log_prob``
        :return: log π(a|s), and ∂ log π / ∂ parameters, row by row
        """

    def entropy(self, parameters: Parameters) -> Array:
        """
        :param parameters: The distribution of each row
        :return: entropy in nats, summed over action dimensions, shape (B,)
        """

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """
        :param parameters: as in ``entropy``
        :return: ∂ entropy / ∂ parameters, row by row, or once where all rows have the same
        """

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """
        :param parameters: The distribution of each row
        :param tangent: A direction in which the parameters move
        :return: the Hessian of KL(old‖new) at old = new, times the direction, row by row
        """

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """
        :param old: Parameters at collection time
        :param new: Parameters now
        :return: KL(old‖new) in nats, summed over action dimensions, shape (B,)
        """

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """
        :param old: as in ``kl``
        :param new: as in ``kl``
        :return: ∂ KL(old‖new) / ∂ new, one array per parameter
        """

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """
        :param reference: Parameters of a fixed distribution
        :param new: Parameters now
        :return: ∂ KL(new‖reference) / ∂ new, one array per parameter (its value is ``kl(new, reference)``)
        """

    def averaged_dims(self, parameters: Parameters) -> int:
        """
        :param parameters: Parameters of any row
        :return: the number of dimensions over which sb3-contrib's TRPO averages the KL instead of summing it
        """
