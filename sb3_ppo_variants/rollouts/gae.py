"""Generalised advantage estimation for a whole rollout at once."""

import numpy as np


def generalized_advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    episode_starts: np.ndarray,
    last_values: np.ndarray,
    dones: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """
    A_t = δ_t + γλ·(1 − end_t)·A_{t+1},  δ_t = r_t + γ·(1 − end_t)·V_{t+1} − V_t.

    The recursion is solved by doubling: after k rounds, A_t holds the sum of the next 2ᵏ terms, so that log₂T rounds
    of operations on the whole array replace a loop over T small ones. In float64, so that the different order of
    summation does not show. Source: Schulman et al. 2016, arXiv:1506.02438, equation 16; Hillis & Steele 1986 for the
    scan.

    :param rewards: shape (T, E): T steps of E environments
    :param values: V_t, shape (T, E)
    :param episode_starts: 1 where a step is the first of its episode, shape (T, E)
    :param last_values: V after the last step, shape (E,)
    :param dones: whether the last step ended its episode, shape (E,)
    :param gamma: γ
    :param gae_lambda: λ
    :return: A, shape (T, E), float32
    """
    goes_on = 1.0 - np.concatenate([episode_starts[1:], np.asarray(dones, dtype=np.float64)[None]])
    following = np.concatenate([values[1:], np.asarray(last_values)[None]])
    advantages = rewards + gamma * goes_on * following - values
    weights = gamma * gae_lambda * goes_on
    shift = 1
    while shift < len(rewards):
        advantages[:-shift] += weights[:-shift] * advantages[shift:]
        weights[:-shift] *= weights[shift:]
        shift *= 2
    return advantages.astype(np.float32)
