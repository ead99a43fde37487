"""Environments that fail in a worker."""

import os
import time

import numpy as np

from tests.environments import RandomWalk


class Failing(RandomWalk):
    """
    A ``RandomWalk`` that fails at its n-th step.

    :param how: ``"raise"``, ``"exit"`` (the process), ``"hang"``, ``"nan"`` (in the observation) or ``"unpicklable"``
    :param at: n, from 1; 0: never
    """

    def __init__(self, how: str = "raise", at: int = 0):
        super().__init__()
        self.how = how
        self.at = at
        self.n_steps = 0

    def step(self, action):
        self.n_steps += 1
        if self.n_steps == self.at:
            return self._fail(action)
        return super().step(action)

    def endless(self):
        return (step for step in range(3))

    def _fail(self, action):
        if self.how == "exit":
            os._exit(7)
        if self.how == "hang":
            time.sleep(1000)
        if self.how == "nan":
            _, reward, terminated, truncated, info = super().step(action)
            return np.full(4, np.nan, np.float32), reward, terminated, truncated, info
        if self.how == "unpicklable":
            raise UnpicklableError(lambda: None)
        raise ArithmeticError("the simulation blew up")


class UnpicklableError(Exception):
    """An error that holds what cannot be sent to another process."""
