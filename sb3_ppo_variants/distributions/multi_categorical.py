"""Multi-categorical head (MultiDiscrete actions)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sb3_ppo_variants.arrays import Array, namespace_of
from sb3_ppo_variants.distributions.categorical import Categorical
from sb3_ppo_variants.distributions.head import Parameters


@dataclass(frozen=True)
class MultiCategorical:
    """
    Independent choices; parameters (logits,), shape (B, ΣD), the blocks side by side.

    :param sizes: D of each choice, in order
    """

    sizes: tuple[int, ...]

    def _blocks(self, logits: Array) -> list[Array]:
        edges = np.cumsum((0, *self.sizes)).tolist()
        return [logits[:, start:end] for start, end in pairwise(edges)]

    def kl(self, old: Parameters, new: Parameters) -> Array:
        """KL(old‖new) = Σ over choices of the categorical KL."""
        blocks = zip(self._blocks(old[0]), self._blocks(new[0]), strict=True)
        return sum(Categorical().kl((old_block,), (block,)) for old_block, block in blocks)

    def kl_slope(self, old: Parameters, new: Parameters) -> Parameters:
        """∂/∂ logits = p − p_old, block by block."""
        blocks = zip(self._blocks(old[0]), self._blocks(new[0]), strict=True)
        slopes = [Categorical().kl_slope((old_block,), (block,))[0] for old_block, block in blocks]
        return (namespace_of(new[0]).concatenate(slopes, -1),)

    def averaged_dims(self, parameters: Parameters) -> int:
        """1: sb3-contrib sums over the choices here, as we do."""
        return 1
