"""The closed form with compiled kernels: the same formulas and memory, in numba instead of numpy."""

from sb3_ppo_variants.backends.closed_form.compiled.backend import (
    KERNEL_PACKAGES,
    CompiledBackend,
    kernel_versions,
    why_not_installed,
)

__all__ = ["KERNEL_PACKAGES", "CompiledBackend", "kernel_versions", "why_not_installed"]
