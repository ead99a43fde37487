"""The scripts of tuning/, with budgets of a few seconds."""

import re
from pathlib import Path
from typing import Any

import pytest

from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.sensitivity_analysis.points import grid
from tests import fine_tuning_page
from tests.experiments.in_process import without_workers
from tests.tuning_scripts import FOLDER, load

TINY: dict[str, Any] = {"timesteps": 128, "settings": {"n_steps": 64}, "seeds": 1}


@pytest.mark.usefixtures("blank_pictures")
def test_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_workers(monkeypatch)
    script = load("tune")
    tiny = TINY | {"trials": 2, "confirm": 0, "sampler": "random", "out": str(tmp_path)}
    monkeypatch.setattr(script, "STUDY", script.STUDY | tiny)
    script.main()
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()


@pytest.mark.long
def test_sensitivity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_workers(monkeypatch)
    script = load("sensitivity")
    tiny = TINY | {"out": str(tmp_path)}
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


def test_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = load("fine_tuning")
    about = {"expert": 1, "n_envs": 1, "settings": {"n_steps": 64, "n_epochs": 1}}
    tiny = {
        "environments": {"CartPole-v1": about},
        "demonstrations": 64,
        "clone_steps": 2,
        "timesteps": 384,
        "seeds": 2,
    }
    monkeypatch.setattr(script, "STUDY", script.STUDY | tiny | {"out": str(tmp_path)})
    script.main()
    runs = script.read_runs(tmp_path / "runs.csv")
    assert len(runs) == 8
    assert [row[0] for row in script.table(runs, "CartPole-v1")] == ["neither", "reference", "warm-up", "both"]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == script.markdown(runs)
    capsys.readouterr()
    script.main()
    assert script.read_runs(tmp_path / "runs.csv") == runs  # nothing is repeated
    assert capsys.readouterr().out.count("CartPole-v1") == 0


def test_the_page_on_fine_tuning_has_the_committed_runs() -> None:
    assert fine_tuning_page.PAGE.read_text(encoding="utf-8") == fine_tuning_page.expected()
    words = " ".join(fine_tuning_page.PAGE.read_text(encoding="utf-8").split())
    study = load("fine_tuning").STUDY
    assert {"neither": {}, "reference": {"reference_kl_coef": "lin_1"}, "warm-up": {"critic_warmup": 5}}.items() <= (
        study["variants"].items()
    )
    assert (
        f"in the first {study['early']:,} steps, `final` the mean of the last 100 episodes of {study['timesteps']:,}"
        in words
    )
    assert study["seeds"] == 5


def test_what_is_said_about_fine_tuning() -> None:
    script = load("fine_tuning")
    runs = script.read_runs(fine_tuning_page.RUNS)
    words = " ".join(fine_tuning_page.PAGE.read_text(encoding="utf-8").split())
    rows = {name: {row[0]: row for row in script.table(runs, name)} for name in script.STUDY["environments"]}
    pendulum = rows["Pendulum-v1"]
    fallen = f"falls from {pendulum['neither'][1].split()[0]} to {pendulum['neither'][2].split()[0]}"
    reference, warmed_up = (pendulum[name][4].replace("(", "").rstrip(")") for name in ("reference", "warm-up"))
    assert fallen in words
    for found in (reference, warmed_up):
        more, _, interval = found.partition(" ")
        assert f"({more}, {interval})" in words
        assert interval.startswith("+")
    for row in rows["Hopper-v5"].values():
        for cell in row[4:]:
            assert cell == "" or ("(−" in cell and "to +" in cell)
    lowest = {name: [float(r["lowest"]) for r in runs if (r["environment"], r["variant"]) == ("CartPole-v1", name)]
              for name in script.STUDY["variants"]}  # fmt: skip
    assert {name: sum(value < 450 for value in values) for name, values in lowest.items()} == {
        "neither": 1, "reference": 0, "warm-up": 0, "both": 0,
    }  # fmt: skip
    for environment in ("Pendulum-v1", "CartPole-v1"):
        for row in rows[environment].values():
            assert row[5] == "" or "(−" in row[5] or "(+0 " in row[5]
