"""The package as a whole: what importing it costs, and that the wheel has every module and template."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_import_stays_light() -> None:
    heavy = ("optuna", "rl_zoo3", "matplotlib", "typer", "scipy", "sqlalchemy", "sb3_contrib")
    code = f"import sys, sb3_ppo_variants; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["ClipPPO", "WorkerVecEnv"])
def test_the_packages_environments_are_known_with_its_classes(name: str) -> None:
    code = f"""
import gymnasium
from sb3_ppo_variants import {name}
own = [each for each in gymnasium.registry if each.startswith("sb3_ppo_variants/")]
print(len(own), *(gymnasium.make(each).spec.id for each in own))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, *made = answer.stdout.split()
    assert len(made) == int(count) == 9
    assert "sb3_ppo_variants/CartPoleNoVel-v1" in made


def test_the_wheel_holds_every_module_and_configuration(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = (".py", ".html", ".json")
    files = (path for path in (ROOT / "sb3_ppo_variants").rglob("*") if path.suffix in kinds)
    modules = {str(path.relative_to(ROOT)) for path in files}
    configurations = {f"sb3_ppo_variants/zoo_configs/{path.name}" for path in (ROOT / "zoo_configs").glob("*.yml")}
    assert modules | configurations <= names
    assert not [name for name in names if name.endswith(".md") or "zoo_configs/results" in name]
