"""What a run's numbers depend on, apart from its settings and seed: software, simulator and the kind of processor.

With the same versions, kind of processor and one thread, the same settings and seed give exactly the same numbers. On
another processor BLAS chooses other kernels, which round differently, and training amplifies the difference.
"""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import threadpoolctl
from stable_baselines3.common.vec_env import VecEnv

import sb3_ppo_variants

LIBRARIES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy")
#: Packages that are not simulators. No simulator needs what SB3's and our wrappers import.
NO_SIMULATORS = ("stable_baselines3", "sb3_ppo_variants", *LIBRARIES, *sys.stdlib_module_names)


def versions(env: VecEnv | None = None) -> dict[str, str]:
    """Versions of the libraries that a run depends on, ``processor``, ``BLAS`` and, in a git checkout, ``commit``.

    :param env: The run's environments: the versions of the packages that simulate them are added
    """
    made: list[gymnasium.Env] = [] if env is None else getattr(env.unwrapped, "envs", [])
    return _software() | (simulators(made[0]) if made else {})


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _software() -> dict[str, str]:
    ours = {"sb3_ppo_variants": str(getattr(sb3_ppo_variants, "__version__", "unknown"))}
    if (found := commit()) is not None:
        ours["commit"] = found
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {**ours, "python": platform.python_version(), **libraries, "processor": processor(), "BLAS": _blas()}


def commit(folder: Path = Path(sb3_ppo_variants.__file__).parent) -> str | None:
    """Our commit, followed by ``dirty`` if files of the package other than pages differ from it.

    :param folder: Folder of the package
    :return: ``None`` outside a git checkout
    """

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10.0).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # it may be installed within another project's checkout
        head, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "--", ".", ":!*.md")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head} dirty" if changed else head


def simulators(env: gymnasium.Env) -> dict[str, str]:
    """Versions of the packages that an environment comes from and that it simulates with, such as MuJoCo or ale-py.

    These are the packages of its classes, of its wrappers' and of its attributes' classes, and those that the modules
    of the former import.

    :param env: The environment
    """
    packages = {_package(name) for name in _modules_behind(env)}.intersection(sys.modules).difference(NO_SIMULATORS)
    return {name: version for package in sorted(packages) for name, version in _distributions(package).items()}


def _package(module: str) -> str:
    return module.partition(".")[0]


def _modules_behind(env: gymnasium.Env) -> Iterator[str]:
    layer: gymnasium.Env | None = env
    while layer is not None:
        for module in _modules_of(layer):
            yield module
            if _package(module) not in NO_SIMULATORS or _package(module) == "gymnasium":
                imported = vars(sys.modules.get(module, ModuleType(module))).values()
                yield from (value.__name__ for value in imported if isinstance(value, ModuleType))
        for attribute in vars(layer).values():
            yield from _modules_of(attribute)
        layer = layer.env if isinstance(layer, gymnasium.Wrapper) else None


def _modules_of(value: object) -> Iterator[str]:
    return (kind.__module__ for kind in type(value).__mro__)


@cache
def _distributions(package: str) -> dict[str, str]:
    """Name and version of the installed distribution of an importable package; empty if none is installed."""
    try:
        names = [importlib.metadata.metadata(package)["Name"]]
    except importlib.metadata.PackageNotFoundError:  # it may have another name: box2d-py has Box2D
        names = importlib.metadata.packages_distributions().get(package, [])
    return {name: importlib.metadata.version(name) for name in dict.fromkeys(names)}


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
