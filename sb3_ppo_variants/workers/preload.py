"""Imported by the forkserver alone: what workers need, and other random numbers in each process forked from it."""

import os

from sb3_ppo_variants.backends.closed_form import actor  # noqa: F401
from sb3_ppo_variants.workers.process import reseed

# For SB3's workers too, which are forked from the same server.
os.register_at_fork(after_in_child=reseed)
