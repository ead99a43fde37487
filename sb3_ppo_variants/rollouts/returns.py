"""Monte-Carlo returns of a rollout, for the policy gradient without a baseline."""

import numpy as np

from sb3_ppo_variants.rollouts.gae import generalized_advantages


def returns_to_go(rewards: np.ndarray, episode_starts: np.ndarray, dones: np.ndarray, gamma: float) -> np.ndarray:
    """
    G_t = Σ_{k ≥ t} γ^(k−t)·r_k up to the end of the episode (or of the rollout).

    Only rewards that come after an action are credited to it. Source: Sutton & Barto 2018, equation 3.8 and
    section 13.3.

    :param rewards: shape (T, E): T steps of E environments
    :param episode_starts: 1 where a step is the first of its episode, shape (T, E)
    :param dones: whether the last step ended its episode, shape (E,)
    :param gamma: γ in [0, 1]
    :return: shape (T, E), float32
    """
    # GAE with λ = 1 is G − V (equation 18), here with V = 0 everywhere.
    no_values = np.zeros(rewards.shape)
    return generalized_advantages(rewards, no_values, episode_starts, no_values[0], dones, gamma, gae_lambda=1.0)


def finished_episodes(episode_starts: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """
    The steps whose episode ends within the rollout: only theirs is a complete return.

    :param episode_starts: 1 where a step is the first of its episode, shape (T, E)
    :param dones: whether the last step ended its episode, shape (E,)
    :return: a mask, shape (T, E)
    """
    ended = np.concatenate([episode_starts[1:].astype(bool), np.asarray(dones, dtype=bool)[None]])
    return np.logical_or.accumulate(ended[::-1])[::-1]
