"""The KL between a fixed distribution and the one in training, in either direction."""

from typing import Literal

from sb3_ppo_variants.arrays import Array
from sb3_ppo_variants.distributions.head import Head, Parameters

Direction = Literal["ref_new", "new_ref"]


def reference_kl(head: Head, reference: Parameters, new: Parameters, direction: Direction) -> Array:
    """
    :param head: The distributions' family
    :param reference: Parameters of the fixed distribution
    :param new: Parameters now
    :param direction: ``"ref_new"``: KL(ref‖new), ``"new_ref"``: KL(new‖ref)
    :return: in nats, summed over action dimensions, shape (B,)
    """
    return head.kl(reference, new) if direction == "ref_new" else head.kl(new, reference)


def reference_kl_slope(head: Head, reference: Parameters, new: Parameters, direction: Direction) -> Parameters:
    """
    :param head: as in ``reference_kl``
    :param reference: as in ``reference_kl``
    :param new: as in ``reference_kl``
    :param direction: as in ``reference_kl``
    :return: ∂ KL / ∂ new, one array per parameter
    """
    return head.kl_slope(reference, new) if direction == "ref_new" else head.reverse_kl_slope(reference, new)
