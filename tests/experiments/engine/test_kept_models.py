"""Models that a comparison keeps: which, where, after interruptions, and what is said of those that are missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th
from rich.console import Console
from stable_baselines3 import PPO

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.experiments import compare, evaluate, train
from sb3_ppo_variants.experiments.engine.coordinator import RunsToDo, do_runs
from sb3_ppo_variants.experiments.engine.kept_models import KeptModels
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import open_store
from sb3_ppo_variants.experiments.engine.task import Outcome, Task, do_run, do_run_in_subprocess
from sb3_ppo_variants.experiments.models.run_plots import find_runs
from sb3_ppo_variants.experiments.runs.run import Run
from tests.experiments.fakes import make_record, make_result
from tests.experiments.in_process import InProcess

SETTINGS = {"n_steps": 64, "batch_size": 32, "n_epochs": 1}
SCORES = {("one", 0): 3.0, ("one", 1): 5.0, ("one", 2): 5.0, ("two", 0): 9.0, ("two", 1): 1.0, ("two", 2): 2.0}
RUNS = [Run("clip_ppo", "A-v0", seed, 64, name=name) for name, seed in SCORES]


class Killed(BaseException):
    """As if the process had been killed there."""


def saved(task: Task, after: Callable[[Run], None] = lambda _run: None) -> Outcome:
    """A run of no length that saves something like a model."""
    assert task.model_folder is not None
    folder = Path(task.model_folder)
    folder.mkdir()
    (folder / "model.zip").write_text("the model")
    (folder / "run.json").write_text(json.dumps({"run": task.run.description()}))
    after(task.run)
    return Outcome(make_result(SCORES[task.run.variant, task.run.seed]))


def keep(
    folder: Path, which: str, function: Callable[[Task], Outcome] = saved, runs: list[Run] = RUNS
) -> tuple[list[str], list[str]]:
    """Do the runs; the folders in ``models`` and the notes."""
    models = KeptModels(folder, which)
    with open_store(storage_url(None, folder), "study") as store:
        models.check(store.records(runs))
        records = do_runs(runs, store, lambda: InProcess(function), folder, models=models)
    found = sorted(path.parent.name for path in (folder / "models").glob("*/model.zip"))
    assert sorted(path.name for path in models.kept(records)) == found
    return found, models.notes(records)


BEST = ["one-A-v0-seed1", "two-A-v0-seed0"]  # of the equal ones that with the lowest seed


@pytest.mark.parametrize("runs", [RUNS, RUNS[::-1]])
def test_the_best_model_of_each_variant_is_kept_whatever_the_order(runs: list[Run], tmp_path: Path) -> None:
    assert keep(tmp_path, "best", runs=runs) == (BEST, [])
    assert keep(tmp_path, "best", runs=runs) == (BEST, [])


def test_all_models_are_kept_until_they_are_removed_by_hand(tmp_path: Path) -> None:
    found, notes = keep(tmp_path, "all")
    assert (len(found), notes) == (6, [])
    with pytest.raises(
        ValueError, match=r"has models of all runs. keep_models='best' would remove 4 of them, that of one"
    ):
        keep(tmp_path, "best")
    assert keep(tmp_path, "all") == (found, [])
    for name in {*found} - {*BEST}:
        shutil.rmtree(tmp_path / "models" / name)
    assert keep(tmp_path, "best") == (BEST, [])
    found, notes = keep(tmp_path, "all")
    assert found == BEST
    assert notes[0].startswith("These runs have no model: one A-v0 seed 0, one A-v0 seed 2, two A-v0 seed 1, two A-v0")
    assert "not trained again, even with --overwrite: for their models, compare in a new folder" in notes[0]


@pytest.mark.parametrize("at", RUNS, ids=lambda run: run.label())
def test_a_kill_between_saving_and_the_ledger_costs_no_model_and_leaves_none(at: Run, tmp_path: Path) -> None:
    def killed(run: Run) -> None:
        if run == at:
            raise Killed

    with pytest.raises(Killed):
        keep(tmp_path, "best", lambda task: saved(task, killed))
    assert keep(tmp_path, "best", lambda task: saved(emptied(task))) == (BEST, [])


def emptied(task: Task) -> Task:
    shutil.rmtree(str(task.model_folder), ignore_errors=True)
    return task


def test_more_seeds_replace_the_best_only_if_they_are_better(tmp_path: Path) -> None:
    assert keep(tmp_path, "best", runs=[RUNS[0], RUNS[3]])[0] == ["one-A-v0-seed0", "two-A-v0-seed0"]
    assert keep(tmp_path, "best") == (BEST, [])


def test_failed_runs_leave_no_model(tmp_path: Path) -> None:
    def failed(task: Task) -> Outcome:
        return Outcome(reason="env: RuntimeError: the reason") if task.run.seed else saved(task)

    assert keep(tmp_path, "all", failed)[0] == ["one-A-v0-seed0", "two-A-v0-seed0"]

    def saved_and_failed(task: Task) -> Outcome:
        saved(emptied(task))
        return Outcome(reason="lost: its process died 4 times")

    assert keep(tmp_path / "none", "all", saved_and_failed) == ([], [])
    assert not (tmp_path / "none" / "models").exists()


def test_the_model_of_a_run_that_is_tried_again_is_not_removed(tmp_path: Path) -> None:
    first, second = RUNS[:2]
    models = KeptModels(tmp_path, "all")
    with open_store(storage_url(None, tmp_path), "study") as store:
        store.add(Record(first, "failed", None, "env: RuntimeError: once"))
        work = RunsToDo([first, second], store, Display([first, second], Console(quiet=True)), models=models)
        models.folder_of(first).mkdir(parents=True)  # it has just been saved when the other run ends
        work.take(make_record(second, 5.0))
        assert models.folder_of(first).is_dir()


def test_the_best_run_without_a_model_is_named_and_the_next_best_is_kept(tmp_path: Path) -> None:
    with open_store(storage_url(None, tmp_path), "study") as store:
        store.add(make_record(RUNS[1], 5.0))  # imported, or done without keeping models
    found, notes = keep(tmp_path, "best")
    assert found == ["one-A-v0-seed2", "two-A-v0-seed0"]
    (note,) = notes
    assert note.startswith(
        "These best runs have no model, and the best run that has one is kept instead: one A-v0 seed 1. They were done "
        f"elsewhere or without --keep-models, or their worker could not write to {tmp_path / 'models'}."
    )


def test_runs_whose_names_are_alike_get_folders_of_their_own(tmp_path: Path) -> None:
    models = KeptModels(tmp_path, "all")
    alike = [Run("clip_ppo", environment, 0, 64) for environment in ("a/b-v0", "a:b-v0", "a b-v0")]
    names = ["clip_ppo-a-b-v0-seed0", "clip_ppo-a-b-v0-seed0_2", "clip_ppo-a-b-v0-seed0_3"]
    assert [models.folder_of(run).name for run in alike] == names
    saved_run = Run("clip_ppo", "A-v0", 0, 64)
    models.folder_of(saved_run).mkdir(parents=True)
    (models.folder_of(saved_run) / "run.json").write_text(json.dumps({"run": saved_run.description()}))
    later = KeptModels(tmp_path, "all")
    assert later.folder_of(Run("clip_ppo", "A-v0", 0, 128)).name == "clip_ppo-A-v0-seed0_2"  # longer: another run
    assert later.folder_of(saved_run).name == "clip_ppo-A-v0-seed0"


def test_a_wrong_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_models is 'best' or 'all', got 'last'; leave it out to keep no models"):
        compare("CartPole-v1", ["clip_ppo"], out=tmp_path, keep_models="last")
    assert not (tmp_path / "ledger.db").exists()


# ---- Real runs ----


def test_a_worker_without_the_folder_does_without(tmp_path: Path) -> None:
    task = Task(Run("clip_ppo", "CartPole-v1", 0, 64, 1, SETTINGS), str(tmp_path), None, str(tmp_path / "no/model"))
    assert do_run(task).reason is None
    assert not (tmp_path / "no").exists()


@pytest.mark.long
def test_a_run_in_a_process_of_its_own_saves_its_model(tmp_path: Path) -> None:
    run = Run("clip_ppo", "CartPole-v1", 0, 64, 1, SETTINGS)
    assert do_run_in_subprocess(Task(run, str(tmp_path), None, str(tmp_path / "model"))).reason is None
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["curve.csv", "model.zip", "run.json"]


def test_a_model_that_cannot_be_saved_does_not_cost_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").write_text("a file in the place of the folder")
    run = Run("clip_ppo", "CartPole-v1", 0, 64, 1, SETTINGS)
    outcome = do_run(Task(run, str(tmp_path), None, str(tmp_path / "model")))
    assert outcome.result is not None
    assert "Error" in capfd.readouterr().err


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.filterwarnings("ignore")
def test_kept_models_are_run_folders_like_those_of_train(here: None, tmp_path: Path) -> None:
    comparison = compare(
        "CartPole-v1",
        ["own=clip_ppo", "sb3:ppo"],
        timesteps=128,
        seeds=2,
        normalize="both",
        settings={"*": SETTINGS},
        out=tmp_path / "compared",
        keep_models="all",
    )
    names = ["own-CartPole-v1-seed0", "sb3-ppo-CartPole-v1-seed0", "own-CartPole-v1-seed1", "sb3-ppo-CartPole-v1-seed1"]
    assert [folder.name for folder in comparison.models] == names
    settings = comparison.records[0].run.settings
    alone = train("clip_ppo", timesteps=128, settings=settings, normalize="both", out=tmp_path / "alone")
    for name in ("model.zip", "vecnormalize.pkl", "curve.csv", "run.json"):
        assert all((folder / name).is_file() for folder in (alone.out, *comparison.models))
    kept = ClipPPO.load(comparison.models[0] / "model.zip")
    for name, values in alone.model.policy.state_dict().items():
        assert th.equal(values, kept.policy.state_dict()[name])
    of_compare, of_train = (evaluate(path, episodes=2) for path in (comparison.models[0], alone.out))
    assert of_compare.returns == of_train.returns
    assert of_compare.normalization == f"observations normalised by {comparison.models[0] / 'vecnormalize.pkl'}"
    assert isinstance(train("sb3:ppo", timesteps=128, start_from=comparison.models[1], out=tmp_path / "on").model, PPO)
    # plot draws a run once.
    assert [folder for folder, _ in find_runs(tmp_path / "compared")] == [tmp_path / "compared"]
    with pytest.raises(ValueError, match="It holds models/own-CartPole-v1-seed0, models/own-CartPole-v1-seed1, models"):
        evaluate(tmp_path / "compared")


@pytest.mark.usefixtures("blank_pictures")
def test_without_the_argument_no_model_is_saved(here: None, tmp_path: Path) -> None:
    comparison = compare("CartPole-v1", ["clip_ppo"], timesteps=64, seeds=1, settings={"*": SETTINGS}, out=tmp_path)
    assert comparison.models == []
    assert not list(tmp_path.rglob("*.zip"))
    again = compare(
        "CartPole-v1", ["clip_ppo"], timesteps=64, seeds=1, settings={"*": SETTINGS}, out=tmp_path, keep_models="best"
    )
    assert again.models == []
    assert any(note.startswith("These best runs have no model") for note in again.report.notes)
