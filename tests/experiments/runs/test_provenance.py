"""What a run records of the software and the machine that made it."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.provenance import commit, processor, simulators, versions


def test_software_processor_and_blas_are_recorded() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["stable-baselines3"] == version("stable-baselines3")
    assert found["processor"] == processor() != ""
    kind = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert "openblas" not in kind or found["BLAS"].startswith("openblas ")
    assert all(isinstance(text, str) and text for text in found.values())


@pytest.mark.parametrize(
    ("environment", "simulated_with"),
    [("CartPole-v1", []), ("Reacher-v5", ["mujoco"]), ("BipedalWalker-v3", ["Box2D"]), ("ALE/Pong-v5", ["ale-py"])],
)
def test_what_simulates_the_environment_is_recorded(environment: str, simulated_with: list[str]) -> None:
    for package in simulated_with:
        pytest.importorskip(package.replace("-", "_"))
    env = make_environment(environment, 1, 0)
    found = versions(env)
    env.close()
    assert found == versions() | {package: version(package) for package in simulated_with}


def test_an_environment_of_ones_own_has_what_its_module_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import gymnasium, pandas as tables, math\nclass Own(gymnasium.Env):\n    pass\n"
    (tmp_path / "own_world.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    from own_world import Own  # type: ignore[import-not-found]

    assert simulators(Own()) == {"pandas": version("pandas")}


def test_our_commit_and_whether_the_files_are_those_of_it(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    assert commit(package) is None

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], capture_output=True, text=True, check=True).stdout

    git("init")
    (package / "__init__.py").touch()
    assert commit(package) is None  # it is installed inside another project's checkout
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "--short=12", "HEAD").strip()
    (tmp_path / "beside").touch()
    (package / "README.md").touch()
    assert commit(package) == head
    (package / "new.py").touch()
    assert commit(package) == f"{head} dirty"
