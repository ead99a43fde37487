"""The package as a whole: what importing it costs, and that the wheel has every room."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parent.parent


def test_import_stays_light() -> None:
    heavy = ("optuna", "rl_zoo3", "matplotlib", "typer", "scipy", "sqlalchemy", "sb3_contrib")
    code = f"import sys, sb3_ppo_variants; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")
def test_every_folder_with_code_is_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "sb3_ppo_variants").rglob("__init__.py")
    }
    # Folders that are elsewhere in the repository than in the package.
    elsewhere = setuptools["package-dir"]
    assert all((ROOT / folder / "__init__.py").is_file() for folder in elsewhere.values())
    assert set(setuptools["packages"]) == folders | set(elsewhere)
    assert set(setuptools["package-data"]["sb3_ppo_variants.zoo_configs"]) == {"*.yml"}
