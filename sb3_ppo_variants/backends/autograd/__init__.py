"""Torch's automatic differentiation, for every SB3 policy."""

from sb3_ppo_variants.backends.autograd.backend import AutogradBackend

__all__ = ["AutogradBackend"]
