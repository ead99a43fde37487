"""Files stored by earlier code open: models, run folders, checkpoints, and ledgers of finished and unfinished work.

``tests/stored`` holds the files; ``make.py`` there made them, and ``EXPECTED.json`` says what that code found in them.
"""

import importlib
import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from typer.testing import CliRunner

import sb3_ppo_variants
from sb3_ppo_variants.cli import app
from sb3_ppo_variants.experiments import evaluate
from sb3_ppo_variants.resume import pickles
from sb3_ppo_variants.resume.files import checkpoint_paths, read_checkpoint
from tests.experiments.in_process import without_workers
from tests.resume.runs import needs_box2d
from tests.stored import make

pytestmark = pytest.mark.usefixtures("blank_pictures")
STORED = Path(__file__).parent / "stored"
EXPECTED = json.loads((STORED / "EXPECTED.json").read_text(encoding="utf-8"))
MODELS = [name for name in EXPECTED if name.startswith(("models/", "safe/"))]
#: Twice what Adam can have moved a parameter by since the checkpoint; a network that begins anew is further away.
MOVED_BY_TRAINING = 0.05


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = th.get_num_threads()
    th.set_num_threads(1)
    yield
    th.set_num_threads(before)


def is_made_here() -> bool:
    """Whether the libraries and the processor are those that made the files, so that results are equal to the bit."""
    made_with, here = dict(EXPECTED["made_with"]), make.machine()
    return made_with == {name: here.get(name) or version(name) for name in made_with}


def copied(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy under the same name, after which a ledger's study is called, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(STORED / folder, tmp_path / folder))


def run(command: str) -> None:
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output


def assert_resumed(model: BaseAlgorithm, expected: dict[str, Any]) -> None:
    if is_made_here():
        assert make.digest(model) == expected["digest"]
    np.testing.assert_allclose(make.parameters(model), expected["parameters"], atol=MOVED_BY_TRAINING)


@pytest.mark.parametrize("name", MODELS)
def test_models_load_and_predict(name: str) -> None:
    expected = EXPECTED[name]
    cls = getattr(sb3_ppo_variants, expected["class"])
    path = STORED / name
    model = cls.load_safe(path, device="cpu") if path.suffix == ".safetensors" else cls.load(path, device="cpu")
    found = make.about(model, *expected["settings"])
    np.testing.assert_allclose(found.pop("actions"), expected["actions"], rtol=1e-4, atol=1e-6)
    assert found == {key: expected[key] for key in found}


@pytest.mark.parametrize("name", ["train/cartpole", "train/pendulum"])
def test_run_folders_are_evaluated(name: str) -> None:
    mean, std = re.search(r"return (\S+) ± (\S+)", EXPECTED[name]["evaluate"]).groups()  # type: ignore[union-attr]
    found = evaluate(STORED / name, episodes=5)
    assert (found.mean, found.std) == pytest.approx((float(mean), float(std)), rel=1e-2)


@pytest.mark.filterwarnings("ignore:Resumed with other software", "ignore::DeprecationWarning")  # Box2D's
@pytest.mark.parametrize("folder", ["train_pendulum", pytest.param("train_walker", marks=needs_box2d)])
def test_interrupted_trainings_resume(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, out = EXPECTED[folder], copied(folder, tmp_path, monkeypatch)
    run(expected["command"])
    about = json.loads((out / "run.json").read_text())
    classes = {"clip_ppo": sb3_ppo_variants.ClipPPO, "kl_penalty_ppo": sb3_ppo_variants.KLPenaltyPPO}
    model = classes[about["run"]["algorithm"]].load(out / "model.zip", device="cpu")
    assert model.num_timesteps == about["result"]["steps"] == expected["resumed"]["result"]["steps"]
    assert_resumed(model, expected["resumed"])
    if is_made_here():
        assert {name: about["result"][name] for name in ("final_return", "episodes")} == {
            name: expected["resumed"]["result"][name] for name in ("final_return", "episodes")
        }


@pytest.mark.filterwarnings("ignore:Resumed with other software")
def test_a_checkpoint_of_a_users_script_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replayed environment, VecNormalize, a callback of the user's own, and one that evaluates."""
    expected, folder = EXPECTED["callback"]["resumed"], copied("callback", tmp_path, monkeypatch)
    model, rewards, evaluations = make.walk_training(folder)
    assert_resumed(model, expected)
    found = make.about_walk_training(model, rewards, evaluations)
    assert found["num_timesteps"] == expected["num_timesteps"]
    assert found["rewards"][0] == expected["rewards"][0]  # those before the interruption too
    assert found["evaluations"][0] == expected["evaluations"][0]
    if is_made_here():
        assert {**found, "parameters": None} == {**expected, "parameters": None}  # compared above, as they are rounded


def test_a_checkpoint_names_only_classes_that_are_found_when_they_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever moves a class named here enters its old name in ``pickles.MOVED``."""
    make.walk_training(copied("callback", tmp_path, monkeypatch))
    named = set()
    find_class = pickles._Unpickler.find_class

    def note(self: Any, module: str, name: str) -> Any:
        named.add(f"{module}.{name}")
        return find_class(self, module, name)

    monkeypatch.setattr(pickles._Unpickler, "find_class", note)
    snapshot = pickles.loads(read_checkpoint(checkpoint_paths(tmp_path / "callback")[-1]).snapshot)
    for env in snapshot.environments.envs:
        pickles.loads(env.layers)
    kinds = {callback.layer.kind for callback in snapshot.callbacks}
    ours = {name for name in named | kinds if name.startswith("sb3_ppo_variants.")}
    assert len(ours) > 5
    assert ours <= set(pickles.MOVED.values())
    for name in pickles.MOVED.values():
        module, _, cls = name.rpartition(".")
        assert hasattr(importlib.import_module(module), cls), name


@pytest.mark.parametrize("folder", ["compare", "compare_interrupted"])
def test_finished_runs_of_comparisons_are_read(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, out = EXPECTED[folder], copied(folder, tmp_path, monkeypatch)
    (out / "runs.csv").unlink()
    run(f"{expected['command']} --report-only")
    # Runs that waited in the queue of that time are missing now.
    waiting = {"waiting": "missing", "running": "missing"}
    wanted = [[*run[:3], waiting.get(run[3], run[3]), run[4]] for run in expected["runs"]]
    assert make.runs_of(folder) == wanted
    assert make.states(folder) == expected["states"]  # nothing was run


def test_a_finished_study_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, out = EXPECTED["tune"], copied("tune", tmp_path, monkeypatch)
    (out / "study.json").unlink()
    run(expected["command"])
    assert make.study_of("tune") == {key: expected[key] for key in ("trials", "candidates")}
    assert make.states("tune") == expected["states"]  # nothing was run


def test_an_interrupted_study_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = EXPECTED["tune_interrupted"], copied("tune_interrupted", tmp_path, monkeypatch)
    before, wanted = expected["states"]["tune_interrupted"], expected["resumed"]["trials"]
    executor = without_workers(monkeypatch)
    run(expected["command"].replace("--confirm 1", "--confirm 0"))
    found = make.study_of("tune_interrupted")["trials"]
    assert [t["number"] for t in found] == [t["number"] for t in wanted]
    scores = [t["score"] for t in found]
    assert scores == pytest.approx([t["score"] for t in wanted], rel=1e-9 if is_made_here() else 0.5)
    assert before["COMPLETE"] + len({t.run.key() for t in executor.tasks}) / 2 >= len(wanted)  # nothing is repeated


def test_a_finished_sensitivity_study_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = EXPECTED["sensitivity"], copied("sensitivity", tmp_path, monkeypatch)
    points = [[p.argument, p.value, p.default, list(p.returns)] for p in make.sensitivity_study().points]
    assert points == expected["points"]
    assert make.states("sensitivity") == expected["states"]
