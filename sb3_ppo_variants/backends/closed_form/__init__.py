"""Gradients by hand: the standard MLP actor-critic in numpy, on the memory of its torch parameters."""

from sb3_ppo_variants.backends.closed_form.backend import ClosedFormBackend

__all__ = ["ClosedFormBackend"]
