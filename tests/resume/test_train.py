"""``ppo-variants train --checkpoint-every --resume`` in one process; ``test_kill`` has it killed."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.cli import app
from sb3_ppo_variants.experiments import evaluate, train
from sb3_ppo_variants.files import write_text
from sb3_ppo_variants.resume.files import checkpoint_paths
from tests.resume.runs import assert_equal, needs_box2d, rows

SETTINGS = {"n_steps": 64, "n_epochs": 1}


#: Copied; of one's own and replayed, for want of which a second one has to be made; Box2D's with a world that it keeps.
ENVIRONMENTS = (
    "CartPole-v1",
    "Pendulum-v1",
    "tests.resume.environments:Simulator",
    "tests.resume.environments:Endless",
    pytest.param("BipedalWalker-v3", marks=needs_box2d),
)


#: How those are trained that are not trained as they are.
OPTIONS: dict[str, dict[str, Any]] = {"Pendulum-v1": {"normalize": "both"}}


def trained(out: Path, environment: str = "CartPole-v1", **options: Any) -> Any:
    kept: Any = {"timesteps": 320, "seed": 1, "settings": SETTINGS, "out": out} | OPTIONS.get(environment, {})
    return train("clip_ppo", environment, **kept | options)


def interrupted(out: Path, at: int, environment: str) -> str:
    def report(steps: int, mean_return: float) -> None:
        if steps >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as info:
        trained(out, environment, checkpoint_every=64, resume=True, report=report)
    return str(info.value)


@pytest.mark.parametrize("other", [None, "observations"])
def test_a_resume_with_another_normalisation_is_refused_before_the_log_is_begun(
    other: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    interrupted(tmp_path, 150, "Pendulum-v1")  # normalised, both
    log = (tmp_path / "progress.csv").read_text()
    assert len(log.splitlines()) > 1
    with pytest.raises(ValueError, match=r"wrappers\[0\]"):
        trained(tmp_path, "Pendulum-v1", checkpoint_every=64, resume=True, normalize=other)
    assert (tmp_path / "progress.csv").read_text() == log


@pytest.mark.parametrize("normalize", [None, "both"])
def test_without_checkpoints_an_interrupted_model_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalize: str | None
) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    finished = trained(tmp_path, normalize=normalize)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".zip", ".pkl", ".json")}
    seen: list[Any] = []

    def report(steps: int, mean_return: float) -> None:
        seen.append(steps)
        if steps >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=rf"Interrupted at step \d+: the model is saved in {tmp_path}"):
        trained(tmp_path, normalize=normalize, report=report, overwrite=True)
    kept = ClipPPO.load(tmp_path / "interrupted" / "model.zip")
    assert kept.num_timesteps == seen[-1]
    assert evaluate(tmp_path / "interrupted", episodes=2).environment == "CartPole-v1"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in before} == before
    assert not np.array_equal(*(m.policy.parameters_to_vector() for m in (kept, finished.model)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_interrupted_and_resumed(environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    undisturbed = trained(tmp_path / "undisturbed", environment)
    out = tmp_path / "resumed"
    assert interrupted(out, 10, environment) == "Interrupted before the first checkpoint: nothing is kept"
    assert "step-000000000128.checkpoint is kept: rerun the command with --resume" in interrupted(out, 150, environment)
    resumed = trained(out, environment, checkpoint_every=64, resume=True)
    assert resumed.resumed_at == 128
    assert_equal(*([p.detach().numpy() for p in one.model.policy.parameters()] for one in (undisturbed, resumed)))
    for one, other in zip(undisturbed.result.curve, resumed.result.curve, strict=True):
        assert one._replace(seconds=0) == other._replace(seconds=0)
    assert resumed.result.episodes == undisturbed.result.episodes
    assert rows(out / "progress.csv") == rows(tmp_path / "undisturbed/progress.csv")

    log = (out / "progress.csv").read_text()
    again = trained(out, environment, checkpoint_every=64, resume=True)
    assert again.resumed_at == again.result.steps == 320
    same = trained(out, environment)  # finished, so not trained again
    assert same.resumed_at == same.result.steps == 320
    with pytest.raises(ValueError, match="with seed=1; this one has 2"):
        trained(out, environment, seed=2)
    with pytest.raises(ValueError, match="seed=1; this one has 2"):
        train(
            "clip_ppo", environment, timesteps=320, seed=2, settings=SETTINGS, out=out, checkpoint_every=64, resume=True
        )
    assert (out / "progress.csv").read_text() == log
    assert len(checkpoint_paths(out / "checkpoints")) == 3


def test_the_command_says_that_it_was_finished(tmp_path: Path) -> None:
    command = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "--timesteps", "64", "--set", "n_steps=64"]
    command += ["--checkpoint-every", "64", "--resume", "--out", str(tmp_path)]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "already finished" not in first.stderr
    assert "The run was already finished" in second.stderr
    assert (tmp_path / "model.zip").is_file()


def test_results_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        if '"result"' in text:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_text(path, text)

    with monkeypatch.context() as patched:
        patched.setattr("sb3_ppo_variants.experiments.runs.folders.write_text", full)
        said = r"No space left on device: .*run\.json of this training were not all written to .*nothing is kept"
        with pytest.raises(OSError, match=said):
            trained(tmp_path / "lost")
        with pytest.raises(
            OSError,
            match=r"step-000000000320\.checkpoint is kept: free some space and rerun .* --resume",
        ):
            trained(tmp_path / "kept", checkpoint_every=64)
    assert trained(tmp_path / "kept", checkpoint_every=64, resume=True).resumed_at == 320
    assert (tmp_path / "kept" / "run.json").is_file()


def test_resume_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume needs checkpoint_every"):
        trained(tmp_path, resume=True)


def test_a_folder_in_which_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"timesteps": 64, "settings": {"n_steps": 32, "batch_size": 32, "n_epochs": 1}}
    train("clip_ppo", out=tmp_path, **options)
    script = (
        "import sys, time, pathlib\n"
        "from sb3_ppo_variants.files import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1]) / '.lock', ValueError):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        for how in ({"resume": True, "checkpoint_every": 32}, {"overwrite": True}):
            with pytest.raises(ValueError, match=rf"A training is under way in .*: process {process.pid} on .*\. Wait"):
                train("clip_ppo", out=tmp_path, **options | {"timesteps": 96} | how)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        process.kill()  # -9: the lock dies with its holder
    assert train("clip_ppo", out=tmp_path, resume=True, **options | {"timesteps": 96}).result.steps == 96
    assert not (tmp_path / ".lock").exists()
    with pytest.raises(ValueError, match="NoPolicy"):
        train("clip_ppo", out=tmp_path / "new", **options | {"settings": {"policy": "NoPolicy"}})
    assert not (tmp_path / "new/.lock").exists()
