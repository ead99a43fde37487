"""The three ways to scale advantages before they enter a surrogate."""

from typing import Literal

import numpy as np

from sb3_ppo_variants.arrays import Array

#: Added to the standard deviation, as SB3 does.
EPSILON = 1e-8

NormalizeAdvantage = bool | Literal["rollout"]


def standardized(advantages: Array) -> Array:
    """
    :param advantages: shape (B,)
    :return: (A − mean) / (std + 1e-8), std with ddof = 1; unchanged for one row, which has no std (SB3 issue 325)
    """
    if len(advantages) <= 1:
        return advantages
    std = advantages.std(ddof=1) if isinstance(advantages, np.ndarray) else advantages.std()
    return (advantages - advantages.mean()) / (std + EPSILON)


class AdvantageNormalizer:
    """
    Scales a minibatch's advantages: (A − mean) / (std + 1e-8), std with ddof = 1.

    :param mode: ``True``: mean and std of each minibatch (SB3's way); ``"rollout"``: of the whole rollout, once (as in
        OpenAI Baselines' ppo1, the PPO paper's code); ``False``: the advantages unchanged
    :param rollout_advantages: The rollout's advantages that take part in the update, any shape
    """

    def __init__(self, mode: NormalizeAdvantage, rollout_advantages: np.ndarray):
        self.per_minibatch = mode != "rollout" and bool(mode)
        self._moments: tuple[float, float] | None = None
        if mode == "rollout" and rollout_advantages.size > 1:
            self._moments = float(rollout_advantages.mean()), float(rollout_advantages.std(ddof=1)) + EPSILON

    def __call__(self, advantages: Array) -> Array:
        """
        :param advantages: One minibatch's, shape (B,), numpy or torch
        :return: the same shape
        """
        if self._moments is not None:
            mean, scale = self._moments
            return (advantages - mean) / scale
        return standardized(advantages) if self.per_minibatch else advantages

    def minibatches(self, advantages: np.ndarray, size: int) -> np.ndarray:
        """
        Several consecutive minibatches in a few operations for all.

        :param advantages: shape (n,)
        :param size: rows of a minibatch; the last may be shorter
        :return: the same shape, each minibatch scaled separately
        """
        if not self.per_minibatch:
            return self(advantages)
        n_whole = len(advantages) // size * size
        whole = advantages[:n_whole].reshape(-1, size)
        if size > 1:
            whole = (whole - whole.mean(1, keepdims=True)) / (whole.std(1, ddof=1, keepdims=True) + EPSILON)
        return np.concatenate([whole.ravel(), standardized(advantages[n_whole:])])
