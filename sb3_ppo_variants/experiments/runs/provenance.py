"""What a run's numbers depend on, apart from its settings and seed: software versions and the kind of processor.

With the same versions, kind of processor and one thread, the same settings and seed give exactly the same numbers. On
another processor BLAS chooses other kernels, which round differently, and training amplifies the difference.
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
    """Versions of the libraries that a run depends on, and the entries ``processor`` and ``BLAS``."""
    ours = str(getattr(sb3_ppo_variants, "__version__", "unknown"))
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"sb3_ppo_variants": ours, **libraries, "processor": processor(), "BLAS": _blas()}


def processor() -> str:
    """Model name of the processor."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _blas() -> str:
    """numpy's BLAS library and the kernels that it has chosen for this processor."""
    found = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    if not found:
        return "unknown"
    # There may be several, for example OpenCV's: numpy's comes first.
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    numpys = next((library for library in found if Path(library["filepath"]).is_relative_to(folder)), found[0])
    parts = (numpys.get(key) for key in ("internal_api", "version", "architecture"))
    return " ".join(str(part) for part in parts if part)
