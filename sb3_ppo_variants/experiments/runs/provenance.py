"""What a run's numbers depend on besides its settings and seed: software, and the kind of processor.

The same settings and seed give the same numbers to the bit on the same kind of processor with the same versions and
one thread. Another processor makes BLAS choose other kernels, which round otherwise, and training amplifies that.
"""

import importlib.metadata
import platform
from functools import cache
from pathlib import Path

import numpy as np
import threadpoolctl

import sb3_ppo_variants

LIBRARIES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy")


@cache
def versions() -> dict[str, str]:
    """Versions of the software that a run depends on, and ``processor`` and ``BLAS``."""
    ours = str(getattr(sb3_ppo_variants, "__version__", "unknown"))
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"sb3_ppo_variants": ours, **libraries, "processor": processor(), "BLAS": _blas()}


def processor() -> str:
    """The processor's model."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _blas() -> str:
    """The BLAS that numpy multiplies with, and the kernels that it has chosen for this processor."""
    found = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    # There may be several: OpenCV brings its own.
    of_numpy = Path(np.__file__).parent.parent
    numpys = [
        library for library in found if Path(library["filepath"]).is_relative_to(of_numpy / "numpy.libs")
    ] or found
    if not numpys:
        return "unknown"
    parts = (numpys[0].get(key) for key in ("internal_api", "version", "architecture"))
    return " ".join(str(part) for part in parts if part)
