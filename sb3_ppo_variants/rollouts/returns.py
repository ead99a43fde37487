"""Monte-Carlo returns of a rollout, for the policy gradient without a baseline."""

import numpy as np


def returns_to_go(rewards: np.ndarray, episode_starts: np.ndarray, dones: np.ndarray, gamma: float) -> np.ndarray:
    """
    G_t = Σ_{k ≥ t} γ^(k−t)·r_k up to the end of the episode (or of the rollout).

    Only rewards that come after an action are credited to it. Source: Sutton & Barto 2018, equation 3.8 and
    section 13.3.

    :param rewards: shape (T, E): T steps of E environments
    :param episode_starts: 1 where a step is the first of its episode, shape (T, E)
    :param dones: whether the last step ended its episode, shape (E,)
    :param gamma: γ in [0, 1]
    :return: shape (T, E), the rewards' dtype
    """
    ended = np.concatenate([episode_starts[1:], np.asarray(dones, dtype=episode_starts.dtype)[None]])
    returns = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * (1 - ended[t]) * following
        returns[t] = following
    return returns


def finished_episodes(episode_starts: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """
    The steps whose episode ends within the rollout: only theirs is a complete return.

    :param episode_starts: 1 where a step is the first of its episode, shape (T, E)
    :param dones: whether the last step ended its episode, shape (E,)
    :return: a mask, shape (T, E)
    """
    ended = np.concatenate([episode_starts[1:].astype(bool), np.asarray(dones, dtype=bool)[None]])
    return np.logical_or.accumulate(ended[::-1])[::-1]
