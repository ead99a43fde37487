"""The states of the process's random generators."""

import random
from typing import Any, NamedTuple

import numpy as np
import torch as th


class RandomStates(NamedTuple):
    """
    :param python: Of the module ``random``
    :param numpy: Of numpy's legacy global generator, which SB3 draws minibatches from
    :param torch: Of the CPU, which actions are drawn from
    :param cuda: Of each CUDA device; empty where there is none
    """

    python: Any
    numpy: Any
    torch: th.Tensor
    cuda: list[th.Tensor]


def capture_random_states() -> RandomStates:
    """
    :return: the states now
    """
    cuda = th.cuda.get_rng_state_all() if th.cuda.is_available() else []
    return RandomStates(random.getstate(), np.random.get_state(), th.get_rng_state(), cuda)


def restore_random_states(states: RandomStates) -> None:
    """
    :param states: What ``capture_random_states`` has returned, here or in another process
    """
    random.setstate(states.python)
    np.random.set_state(states.numpy)
    th.set_rng_state(states.torch)
    if states.cuda and th.cuda.is_available():
        th.cuda.set_rng_state_all(states.cuda)
