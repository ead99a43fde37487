"""The scripts of tuning/ as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "tuning"


def load(name: str) -> ModuleType:
    """A script as a module; what it holds under ``__main__`` does not run."""
    spec = importlib.util.spec_from_file_location(f"tuning_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
