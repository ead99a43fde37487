"""The scripts of tuning/, with budgets of a few seconds."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.sensitivity_analysis.points import grid

FOLDER = Path(__file__).parents[1] / "tuning"
TINY: dict[str, Any] = {"timesteps": 128, "settings": {"n_steps": 64, "n_epochs": 1}, "jobs": 1}


def load(name: str) -> ModuleType:
    """A script as a module; what it holds under ``__main__`` does not run."""
    spec = importlib.util.spec_from_file_location(f"tuning_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = load("tune")
    tiny = TINY | {
        "trials": 2,
        "seeds": 1,
        "confirm": 0,
        "sampler": "random",
        "out": str(tmp_path),
        "space": {"ent_coef": script.STUDY["space"]["ent_coef"]},
    }
    monkeypatch.setattr(script, "STUDY", script.STUDY | tiny)
    script.main()
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


def test_sensitivity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = load("sensitivity")
    tiny = TINY | {"seeds": 1, "out": str(tmp_path), "parameters": ["ent_coef"], "points": {"ent_coef": [0.0]}}
    monkeypatch.setattr(script, "STUDY", script.STUDY | tiny)
    script.main()
    assert "sensitivity-CartPole-v1.png" in capsys.readouterr().out.replace("\n", "")
    assert (tmp_path / "sensitivity-CartPole-v1.csv").exists()


def test_the_scripts_are_about_the_documented_parameters() -> None:
    documented = {d.argument for d in DOCUMENTED}
    assert set(load("tune").STUDY["space"]) == documented
    assert set(load("sensitivity").STUDY["parameters"]) == documented - {"gamma"}


def test_the_readme_counts_right() -> None:
    said = (FOLDER / "README.md").read_text(encoding="utf-8").replace(",", "")
    study = load("sensitivity").STUDY
    values = grid(study["algorithm"], {}, study["parameters"], study["points"])
    points = 1 + sum(len(v) - 1 for v in values.values())
    runs = points * study["seeds"]
    assert f"{points} points on {study['seeds']} seeds: {runs} runs of {study['timesteps']} steps" in said
    assert f"{runs * study['timesteps'] / 1e6:g} million steps" in said
    study = load("tune").STUDY
    confirmation = (1 + study["confirm"]) * study["test_seeds"]
    runs = study["trials"] * study["seeds"] + confirmation
    assert re.search(rf"{study['trials']} × {study['seeds']} runs of {study['timesteps']} steps", said)
    assert f"{runs} runs {runs * study['timesteps'] / 1e6:g} million steps" in said
