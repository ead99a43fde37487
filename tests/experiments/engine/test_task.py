"""One task in this process: its progress, and its checkpoints, which change no result."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from sb3_ppo_variants.experiments.engine import task as engine_task
from sb3_ppo_variants.experiments.engine.task import Outcome, Progress, RunCheckpoints, Task, do_run, read_progress
from sb3_ppo_variants.experiments.runs.environments import check_environment
from sb3_ppo_variants.experiments.runs.run import Run
from sb3_ppo_variants.resume import callback
from sb3_ppo_variants.resume.files import checkpoint_paths, read_checkpoint
from tests.forms import long

SMALL = {"n_steps": 64, "batch_size": 32, "n_epochs": 2}
RUNS = {
    "ours": Run("clip_ppo", "CartPole-v1", 3, 640, 2, SMALL),
    "VecNormalize": Run("paper_trpo", "Pendulum-v1", 0, 640, 2, {"n_steps": 64}, normalize={"norm_obs": True}),
    "workers": Run("clip_ppo", "Pendulum-v1", 0, 640, 2, SMALL, normalize={"norm_obs": True}, vec_env="WorkerVecEnv"),
    # A copy of its attributes goes another way, which is seen only where the check takes place.
    "replayed": Run("clip_ppo", "LunarLander-v3", 1, 640, 1, SMALL),
    "SB3's": Run("sb3:ppo", "CartPole-v1", 1, 640, 1, SMALL),
    # The state of its simulator cannot be kept.
    "without a state": Run("clip_ppo", "tests.experiments.mine:Opaque", 0, 640, 1, SMALL),
    "off-policy": Run("stable_baselines3:DQN", "CartPole-v1", 0, 640, 1, {"learning_starts": 100}),
}
SHORT = ("VecNormalize", "workers", "replayed", "without a state")


class Killed(BaseException):
    """Ends a run as kill -9 would."""


def numbers(outcome: Outcome) -> list[Any]:
    """Everything but the clocks."""
    assert outcome.result is not None, outcome.reason
    curve = [(p.timesteps, p.mean_return, p.mean_length) for p in outcome.result.curve]
    return [outcome.result.final_return, outcome.result.episodes, outcome.result.steps, curve]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name if name in SHORT else long(name) for name in RUNS])
def test_a_killed_run_resumes_with_the_same_result(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "replayed":
        pytest.importorskip("Box2D")
    alone = do_run(Task(RUNS[name], str(tmp_path / "nowhere"), rollout_workers=1))
    assert not (tmp_path / "nowhere").exists()
    monkeypatch.setattr(engine_task, "CHECKPOINT_SECONDS", 0.0)
    resumed_at: list[int | None] = []
    fit = engine_task.fit

    def killed(run: Run, report: Any, on_point: Any, *rest: Any, **options: Any) -> Any:
        def die(model: Any, point: Any) -> None:
            on_point(model, point)
            if model.num_timesteps >= 400:
                raise Killed

        return fit(run, report, die, *rest, **options)

    monkeypatch.setattr(engine_task, "fit", killed)
    with pytest.raises(Killed):
        do_run(Task(RUNS[name], str(tmp_path), rollout_workers=2))
    left = [read_checkpoint(path).about["steps"] for path in checkpoint_paths(tmp_path)]

    def noted(run: Run, report: Any, on_point: Any, prepare: Any, callbacks: Any, **options: Any) -> Any:
        fitted = fit(run, report, on_point, prepare, callbacks, **options)
        resumed_at.extend(callback.resumed_at for callback in callbacks)
        return fitted

    monkeypatch.setattr(engine_task, "fit", noted)
    assert numbers(do_run(Task(RUNS[name], str(tmp_path), rollout_workers=1))) == numbers(alone)
    if name in ("without a state", "off-policy"):
        assert not left
        assert resumed_at in ([], [None])
    else:
        assert resumed_at == left[-1:]


def test_a_run_that_cannot_be_restored_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = do_run(Task(RUNS["ours"], str(tmp_path / "nowhere")))
    monkeypatch.setattr(engine_task, "CHECKPOINT_SECONDS", 0.0)
    do_run(Task(RUNS["ours"], str(tmp_path)))
    put, restored = callback.put_snapshot, []

    def fails(*given: Any) -> list[str]:
        put(*given)
        restored.append(given)
        return ["environment 0"]

    monkeypatch.setattr(callback, "put_snapshot", fails)
    assert numbers(do_run(Task(RUNS["ours"], str(tmp_path)))) == numbers(alone)
    assert len(restored) == 1


@pytest.mark.parametrize("where", ["surroundings", "versions"])
def test_a_checkpoint_of_other_software_is_not_used(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_task, "CHECKPOINT_SECONDS", 0.0)
    do_run(Task(RUNS["ours"], str(tmp_path)))
    assert checkpoint_paths(tmp_path)
    monkeypatch.setattr(engine_task, where, lambda _: {"torch": "another"})
    seen: list[RunCheckpoints] = []
    make = engine_task._checkpoints
    monkeypatch.setattr(engine_task, "_checkpoints", lambda *given: seen.extend(make(*given)) or seen)  # type: ignore[arg-type, func-returns-value]
    do_run(Task(RUNS["ours"], str(tmp_path)))
    assert [callback.resumed_at for callback in seen] == [None]


def test_progress_is_written_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    assert read_progress(tmp_path) is None
    do_run(Task(RUNS["ours"], str(tmp_path)))
    found = read_progress(tmp_path)
    assert found is not None
    assert 0 < found.steps <= 640
    (tmp_path / "progress").write_text("12 nan")
    assert read_progress(tmp_path) == Progress(12, pytest.approx(math.nan, nan_ok=True))
    (tmp_path / "progress").write_text("")  # read while it is written
    assert read_progress(tmp_path) is None


def test_progress_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    (tmp_path / "progress").mkdir()  # writing raises
    assert do_run(Task(RUNS["ours"], str(tmp_path))).reason is None


def test_a_task_that_has_a_mistake_is_an_outcome_not_an_exception(tmp_path: Path) -> None:
    outcome = do_run(Task(Run("clip_ppo", "CartPole-v1", 0, 64, settings={"n_steps": "x"}), str(tmp_path)))
    assert outcome.result is None
    assert str(outcome.reason).startswith("config: ")


def test_an_environment_that_exits_is_a_failure_and_no_end_of_the_process(tmp_path: Path) -> None:
    run = Run("clip_ppo", "tests.experiments.mine:Exits", 0, 64, 1, SMALL)
    assert do_run(Task(run, str(tmp_path))).reason == "env: SystemExit: "
    in_workers = dataclasses.replace(run, vec_env="WorkerVecEnv")
    reason = do_run(Task(in_workers, str(tmp_path), rollout_workers=1)).reason
    assert re.fullmatch(r"env: WorkerError: Worker 0 .* in environment 0, .*SystemExit.*", str(reason), re.DOTALL)


def test_a_training_outlives_environments_that_cannot_be_closed(tmp_path: Path) -> None:
    run = Run("clip_ppo", "tests.experiments.mine:CannotBeClosed", 0, 64, 1, SMALL)
    with pytest.warns(UserWarning, match=r"could not be closed \(RuntimeError: the window is gone\)"):
        outcome = do_run(Task(run, str(tmp_path)))
    assert outcome.result is not None
    assert outcome.result.steps == 64


def test_an_environment_that_cannot_be_closed_can_be_made() -> None:
    with pytest.warns(UserWarning, match="could not be closed"):
        check_environment("tests.experiments.mine:CannotBeClosed")


def test_an_environment_that_raises_in_a_worker_is_the_environments_failure(tmp_path: Path) -> None:
    run = Run("clip_ppo", "tests.experiments.mine:Raises", 0, 64, 2, SMALL, vec_env="WorkerVecEnv")
    outcome = do_run(Task(run, str(tmp_path), rollout_workers=1))
    assert re.fullmatch(r"env: WorkerError: Worker 0 .* in environment 0, .*the motor burned.*", str(outcome.reason))


def test_tasks_and_results_survive_json(tmp_path: Path) -> None:
    outcome = do_run(Task(RUNS["ours"], str(tmp_path)))
    assert outcome.result is not None
    assert type(outcome.result).from_json(json.loads(json.dumps(outcome.result.to_json()))) == outcome.result
