"""The three ways to scale advantages before they enter a surrogate."""

import math
from typing import Literal

import numpy as np

from sb3_ppo_variants.arrays import Array, namespace_of

#: Added to the standard deviation, as SB3 does.
EPSILON = 1e-8
#: A standard deviation of so many units in the last place of the mean is the rounding error of equal numbers.
ROUNDING = 8

NormalizeAdvantage = bool | Literal["rollout"]


def standardized(advantages: Array) -> Array:
    """
    :param advantages: shape (B,)
    :return: (A − mean) / (std + 1e-8), std with ddof = 1; unchanged for one row, which has no std (SB3 issue 325); 0
        for equal ones. Deviation from SB3, where the rounding error of their mean, divided by itself, becomes up to ±1
    """
    if len(advantages) <= 1:
        return advantages
    mean, std = advantages.mean(), advantages.std(ddof=1) if isinstance(advantages, np.ndarray) else advantages.std()
    return (advantages - mean) / _scale(mean, std)


def _scale(mean: Array, std: Array) -> Array:
    """What advantages are divided by: std + 1e-8, and ∞ where they differ only by rounding."""
    xp = namespace_of(std)
    return xp.where(std <= ROUNDING * xp.finfo(std.dtype).eps * abs(mean), xp.full_like(std, math.inf), std + EPSILON)


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
            mean = rollout_advantages.mean()
            self._moments = float(mean), float(_scale(mean, rollout_advantages.std(ddof=1)))

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
            mean = whole.mean(1, keepdims=True)
            whole = (whole - mean) / _scale(mean, whole.std(1, ddof=1, keepdims=True))
        return np.concatenate([whole.ravel(), standardized(advantages[n_whole:])])
