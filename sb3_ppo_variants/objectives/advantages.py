"""The three ways to scale advantages before they enter a surrogate."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch as th

#: Added to the standard deviation, as SB3 does.
EPSILON = 1e-8

NormalizeAdvantage = bool | Literal["rollout"]


def _standardize_minibatch(advantages: th.Tensor) -> th.Tensor:
    # One row has no standard deviation (SB3 issue 325).
    if len(advantages) <= 1:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + EPSILON)


def advantage_normalizer(mode: NormalizeAdvantage, rollout_advantages: np.ndarray) -> Callable[[th.Tensor], th.Tensor]:
    """
    The function that a minibatch's advantages pass through: (A − mean) / (std + 1e-8), std with ddof = 1.

    :param mode: ``True``: mean and std of each minibatch (SB3's way); ``"rollout"``: of the whole rollout, once (as in
        OpenAI Baselines' ppo1, the PPO paper's code); ``False``: the advantages as they are
    :param rollout_advantages: All advantages of the rollout, any shape
    :return: a function from (B,) to (B,)
    """
    if mode == "rollout":
        if rollout_advantages.size <= 1:
            return lambda advantages: advantages
        mean = float(rollout_advantages.mean())
        scale = float(rollout_advantages.std(ddof=1)) + EPSILON
        return lambda advantages: (advantages - mean) / scale
    return _standardize_minibatch if mode else (lambda advantages: advantages)
