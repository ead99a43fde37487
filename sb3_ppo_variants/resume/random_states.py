"""The states of the process's random number generators."""

import random
from typing import Any, NamedTuple

import numpy as np
import torch as th


class RandomStates(NamedTuple):
    """
    :param python: State of the module ``random``
    :param numpy: State of numpy's legacy global generator, from which SB3 draws minibatches
    :param torch: State of torch's CPU generator, from which actions are drawn
    :param cuda: State of each CUDA device; empty without CUDA
    """

    python: Any
    numpy: Any
    torch: th.Tensor
    cuda: list[th.Tensor]


def capture_random_states() -> RandomStates:
    """
    :return: the present states
    """
    cuda = th.cuda.get_rng_state_all() if th.cuda.is_available() else []
    return RandomStates(random.getstate(), np.random.get_state(), th.get_rng_state(), cuda)


def restore_random_states(states: RandomStates) -> None:
    """
    :param states: What ``capture_random_states`` returned, in this process or another
    """
    random.setstate(states.python)
    np.random.set_state(states.numpy)
    th.set_rng_state(states.torch)
    if states.cuda and th.cuda.is_available():
        th.cuda.set_rng_state_all(states.cuda)
