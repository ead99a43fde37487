"""Imported by the forkserver alone: what workers need, and other random numbers in each process forked from it."""

import os

import numpy as np
import torch as th

from sb3_ppo_variants.backends.closed_form import actor  # noqa: F401
from sb3_ppo_variants.workers import process  # noqa: F401


def _reseed() -> None:
    # Forked processes would continue the forkserver's generators, all alike. Python's own does this itself.
    np.random.seed()
    th.seed()


os.register_at_fork(after_in_child=_reseed)
