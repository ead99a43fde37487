"""The multi-categorical head (MultiDiscrete actions)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.distributions.categorical import Categorical
from sb3_ppo_variants.distributions.head import Parameters


@dataclass(frozen=True)
class MultiCategorical:
    """
    Independent choices; parameters (log p,), shape (B, ΣD), one block per choice, side by side.

    As for ``Categorical``, each block is normalised (``log_softmax`` of its logits); only ``kl`` and ``kl_slope``,
    and ``reverse_kl_slope`` as its reference, also take logits that are not. Slopes are with respect to the logits.

    :param sizes: D of each choice, in order
    """

    sizes: tuple[int, ...]

    def blocks(self, joined: Array) -> list[Array]:
        """
        :param joined: log p, logits, or their slopes, shape (B, ΣD)
        :return: those of each choice, shape (B, D)
        """
        edges = np.cumsum((0, *self.sizes)).tolist()
        return [joined[:, start:end] for start, end in pairwise(edges)]

    def _join(self, blocks: list[Array]) -> Parameters:
        return (namespace_of(blocks[0]).concatenate(blocks, -1),)

    def log_prob(self, parameters: Parameters, actions: Array) -> Array:
        """Σ over choices; actions: integers, shape (B, number of choices)."""
        blocks = enumerate(self.blocks(parameters[0]))
        return sum(Categorical().log_prob((block,), actions[:, index]) for index, block in blocks)

    def log_prob_and_slope(self, parameters: Parameters, actions: Array) -> tuple[Array, Parameters]:
        """Σ over choices; ∂/∂ logits = onehot(a) − p, block by block."""
        blocks = enumerate(self.blocks(parameters[0]))
        both = [Categorical().log_prob_and_slope((block,), actions[:, index]) for index, block in blocks]
        return sum(log_prob for log_prob, _ in both), self._join([slope for _, (slope,) in both])

    def entropy(self, parameters: Parameters) -> Array:
        """Σ over choices."""
        return sum(Categorical().entropy((block,)) for block in self.blocks(parameters[0]))

    def entropy_slope(self, parameters: Parameters) -> Parameters:
        """Block by block."""
        return self._join([Categorical().entropy_slope((block,))[0] for block in self.blocks(parameters[0])])

    def fisher_product(self, parameters: Parameters, tangent: Parameters) -> Parameters:
        """Block by block."""
        blocks = zip(self.blocks(parameters[0]), self.blocks(tangent[0]), strict=True)
        return self._join([Categorical().fisher_product((block,), (part,))[0] for block, part in blocks])

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ over choices of the categorical KL."""
        blocks = zip(self.blocks(old[0]), self.blocks(new[0]), strict=True)
        return sum(Categorical().kl((old_block,), (block,)) for old_block, block in blocks)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂ logits = p − p_old, block by block."""
        blocks = zip(self.blocks(old[0]), self.blocks(new[0]), strict=True)
        return self._join([Categorical().kl_slope((old_block,), (block,))[0] for old_block, block in blocks])

    def reverse_kl_slope(self, reference: Parameters, new: Parameters) -> Parameters:
        """As of one choice, block by block."""
        return self.fisher_product(new, (new[0] - reference[0],))

    def averaged_dims(self, parameters: Parameters) -> int:
        """1: sb3-contrib sums over the choices, as this package does."""
        return 1
