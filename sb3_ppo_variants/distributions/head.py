"""What every closed-form head promises."""

from typing import Protocol, TypeAlias

from sb3_ppo_variants.arrays import Array

#: The arrays that fix a distribution for each row, in the head's own order.
Parameters: TypeAlias = tuple[Array, ...]


class Head(Protocol):
    """A family of action distributions with closed forms, as pure functions of its parameters."""

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

    def averaged_dims(self, parameters: Parameters) -> int:
        """
        :param parameters: Parameters of any row
        :return: the number of dimensions over which sb3-contrib's TRPO averages the KL instead of summing it
        """
