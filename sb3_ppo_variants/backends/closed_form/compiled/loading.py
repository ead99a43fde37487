"""The kernels, loaded once a process and compiled once a machine."""

import logging
from typing import Any

import scipy.linalg.cython_blas  # noqa: F401  (compiled code multiplies matrices by it)
from numba.core import event

from sb3_ppo_variants.backends.closed_form.threads import find_thread_pools


class SayOnce(event.Listener):
    """Logs that something is compiled when the first function is."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        if not self._said:
            self._said = True
            logging.getLogger("sb3_ppo_variants").warning(
                "Compiling the kernels of update_backend='compiled': some seconds, once; they are kept on disk."
            )

    def on_end(self, event: Any) -> None:
        pass


# What is loaded from the disk is not compiled, and starts no such event.
with event.install_listener("numba:compile", SayOnce()):
    from sb3_ppo_variants.backends.closed_form.compiled import kernels

# SciPy's BLAS is another library than numpy's.
find_thread_pools()

__all__ = ["kernels"]
