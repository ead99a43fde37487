"""The ``ppo-variants`` command: in this process where that is enough, as a process where signals matter."""

import csv
import importlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from optuna.trial import TrialState
from typer.testing import CliRunner

from sb3_ppo_variants import __version__
from sb3_ppo_variants.cli import app
from sb3_ppo_variants.cli.console import command_line
from sb3_ppo_variants.cli.options import document_options
from sb3_ppo_variants.experiments.engine.storage import storage_url, study_name
from sb3_ppo_variants.experiments.engine.store import RUN, open_store
from sb3_ppo_variants.experiments.runs.run import Run, train_run
from tests.experiments.in_process import without_workers
from tests.forked import Forked

SMALL = ["--set", "sb3:ppo.n_steps=128", "--set", "sb3:ppo.n_epochs=2"]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def joined(text: str) -> str:
    """A text without what a terminal's width decides."""
    return "".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_and_argument(command: str, width: int) -> None:
    result = CliRunner().invoke(app, [command, "--help"], terminal_width=width)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    shown = joined(result.stdout)
    assert joined(COMMANDS[command].help) in shown
    for parameter in COMMANDS[command].params:
        assert joined(parameter.help) in shown
        assert parameter.opts[0] in shown or parameter.param_type_name == "argument"


def test_the_list_of_commands_is_whole() -> None:
    shown = joined(run("--help")[1])
    for command in (c for c in COMMANDS.values() if not c.hidden):
        assert joined(command.help.partition("\n\n")[0]) in shown


def test_help_keeps_words_in_brackets() -> None:
    def own(settings: str = "") -> None:
        """Search [values].

        :param settings: argument: [values], or [0.1, 0.2]
        """

    mine = typer.Typer(rich_markup_mode=app.rich_markup_mode)
    mine.command()(document_options(own))
    shown = CliRunner().invoke(mine, ["--help"]).stdout
    assert "Search [values]." in shown
    assert "argument: [values], or [0.1, 0.2]" in shown


def test_version() -> None:
    assert run("--version") == (0, f"sb3_ppo_variants {__version__}\n", "")


def test_a_report_shows_the_command_without_the_databases_password(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["compare", "--storage", "postgresql://me:S3CR@T@db:1/x", "--storage=postgresql://me:S3CRET@db/y"]
    given += ["--import", "postgresql://me@db/z?password=S3CRET&sslmode=require"]
    monkeypatch.setattr(sys, "argv", ["ppo-variants", *given, "--executor", "dask:tcp://host:8786"])
    assert command_line() == (
        "ppo-variants compare --storage 'postgresql://me:***@db:1/x' '--storage=postgresql://me:***@db/y' "
        "--import 'postgresql://me@db/z?password=***&sslmode=require' --executor dask:tcp://host:8786"
    )


def test_an_error_in_the_users_code_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Mine(CartPoleEnv):\n"
        "    def step(self, action):\n"
        "        return np.zeros(2) + np.zeros(3)\n"
    )
    code, _, err = run("train", "--algo", "clip_ppo", "--env", "mine:Mine", "--timesteps", "64")
    assert code == 2
    assert "could not be broadcast" in err
    assert err.endswith(f"({tmp_path / 'mine.py'}, line 5, in step)\n")
    (tmp_path / "making.py").write_text("def make():\n    raise RuntimeError('no display')\n")
    (tmp_path / "wrong.py").write_text("def make(:\n")
    code, _, err = run("train", "--algo", "clip_ppo", "--env", "making:make", "--timesteps", "64")
    assert (code, "RuntimeError: no display" in err) == (2, True)
    assert err.endswith(f"({tmp_path / 'making.py'}, line 2, in make)\n")
    code, _, err = run("train", "--algo", "clip_ppo", "--env", "wrong:make", "--timesteps", "64")
    assert (code, "SyntaxError: " in err, "wrong.py" in err) == (2, True, True)


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = run("plot", "--out=~/x", "~/nowhere")[2]
    assert f"There is no folder {tmp_path}/nowhere" in given
    given = run("compare", "--algo", "sb3:ppo", "--storage=~/x.db", "--report-only")[2]
    assert given.startswith(f"Error: There is no ledger at {tmp_path}/x.db")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--algo", "clip_pp"], "Did you mean 'clip_ppo'"),
        (["compare", "--algo", "sb3:ppo", "--env", "CartPol-v1"], "Cannot make the environment 'CartPol-v1'"),
        (["compare", "--algo", "sb3:ppo", "--set", "sb3:ppo.n_step=1"], "Did you mean 'n_steps'"),
        (["compare", "--algo", "sb3:ppo", "--set", "n-steps=1"], "written argument=value or variant.argument=value"),
        (["compare", "--algo", "sb3:ppo", "--jobs", "0"], "jobs=0 is out of range: it must be >= 1. Leave it out"),
        (["compare", "--algo", "sb3:ppo", "--storage", "mysql://x"], "--storage 'mysql://x' cannot be used"),
        (["train", "--algo", "sb3:ppo", "--env", "CartPole-v1", "--set", "a=1"], "takes no argument 'a'"),
        (
            ["train", "--algo", "clip_ppo", "--env", "Blackjack-v1"],
            "cannot be trained on Blackjack-v1: Tuple(",
        ),
        (["train", "--algo", "ClipPPO", "--env", "CartPole-v1"], "Did you mean 'clip_ppo'"),
        (["train", "--algo", "trpo", "--env", "CartPole-v1"], "'contrib:trpo' is sb3-contrib's (rl_zoo3's 'trpo')"),
        (
            ["compare", "--algo", "clip_ppo", "--algo", "reinforce", "--set", "clip_range=0.1"],
            "write VARIANT.ARGUMENT=VALUE for one",
        ),
        (["tune", "--algo", "clip_pp"], "Did you mean 'clip_ppo'"),
        (["tune", "--algo", "clip_ppo", "--only", "clip_rang"], "Did you mean 'clip_range'"),
        (["tune", "--algo", "clip_ppo", "--space", "nowhere.yml"], "There is no space file nowhere.yml"),
        (["tune", "--algo", "clip_ppo", "--reference", "CartPole-v1=22"], "written ENV=RANDOM,REFERENCE"),
        (["tune", "--algo", "clip_ppo", "--test-seeds", "5"], "at least 10 test seeds, got 5: raise --test-seeds"),
        (["tune", "--algo", "clip_ppo", "--set", "clip_range"], "written argument=value"),
        (["evaluate", "nowhere"], "There is no model at nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    # Older versions of Rich leave an empty line where a progress bar would have been.
    said = err.strip()
    assert said.startswith("Error: ")
    assert message in said
    assert "\n" not in said


def test_train_then_evaluate(tmp_path: Path) -> None:
    settings = ["--set", "n_steps=128", "--set", "n_epochs=1"]
    code, out, _ = run(
        "train", "--algo", "sb3:ppo", "--env", "CartPole-v1", "--timesteps", "256", *settings, "--out", str(tmp_path)
    )
    assert code == 0
    assert re.search(r"model\.zip: final return \d+\.\d\d, 256 steps", out)
    code, out, _ = run("evaluate", str(tmp_path), "--episodes", "2", "--stochastic")
    assert code == 0
    how = "over 2 stochastic episodes, seed 10000, observations not normalised"
    assert re.match(rf"sb3:ppo on CartPole-v1: return [\d.]+ ± [\d.]+ .* {how}", out)


def test_train_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "--algo", "clip_ppo", "--env", "Pendulum-v1", "--timesteps", "256", "--set", "n_steps=128"]
    command += ["--set", "policy_kwargs.activation_fn=ReLU", "--normalize", "both"]
    code, out, _ = run(*command, "--eval-every", "128", "--eval-episodes", "1", "--tensorboard", "tb", "--out", "a")
    assert code == 0
    assert re.search(r"^a/best/best_model.zip: mean return -[\d.]+ at step (128|256)$", out, re.MULTILINE)
    assert (tmp_path / "tb/a_1").is_dir()
    code, out, _ = run("evaluate", "a/best", "--episodes", "1")
    assert "observations normalised by a/best/vecnormalize.pkl" in out
    assert run("evaluate", "a", "--episodes", "1", "--normalization", "none")[1].strip().endswith("not normalised")
    code, _, err = run(*command, "--out", "a")
    assert code == 2
    assert "a holds another run (with evaluation=" in err
    assert "--overwrite" in err
    assert run(*command, "--out", "a", "--overwrite")[0] == 0
    assert not (tmp_path / "a/best").exists()
    code, _, err = run(*command, "--out", "a")
    assert code == 0
    assert "The run was already finished; --overwrite trains it again" in err
    command[command.index("256")] = "512"
    code, out, err = run(*command, "--out", "a", "--resume")
    assert code == 0
    assert "resumed at step 256" in err
    assert "512 steps" in out
    code, out, _ = run(*command, "--from", "a", "--out=b")
    assert code == 0
    assert json.loads((tmp_path / "b/run.json").read_text())["from"] == "a/model.zip"


def test_the_progress_of_a_training_is_shown_in_a_pipe_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_variants.cli.train.PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("sb3_ppo_variants.experiments.runs.run.REPORT_SECONDS", 0.0)
    command = ["train", "--algo", "sb3:ppo", "--env", "CartPole-v1", "--timesteps", "256", "--set", "n_steps=128"]
    _, _, err = run(*command, "--out", str(tmp_path))
    lines = err.splitlines()
    assert len(lines) > 10
    assert re.fullmatch(r"2 of 256 steps, no episode yet, about \d+ s left", lines[0])
    assert re.fullmatch(r"25\d of 256 steps, return [\d.]+, about 0 s left", lines[-2])


@pytest.mark.usefixtures("blank_pictures")
def test_compare_reports_a_failed_run_and_says_so_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_workers(monkeypatch)
    # A2C's n_steps of 5 gives no finished episode in 5 steps.
    arguments = ["--algo", "sb3:a2c", "--algo", "sb3:ppo", "--timesteps", "5", "--seeds", "1", "--out", str(tmp_path)]
    code, out, err = run("compare", *arguments, *SMALL)
    assert code == 1
    assert "sb3:a2c CartPole-v1 seed 0: failed: config: ValueError: No episode of CartPole-v1 finished within 5" in err
    assert "FAILED sb3:a2c CartPole-v1 seed 0" in out
    assert re.search(r"sb3:ppo \(our settings\) +[\d.]+ \(mean\)", out)


@pytest.mark.usefixtures("blank_pictures")
def test_compare_ends_with_its_verdict_and_names_the_kept_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_workers(monkeypatch)
    arguments = ["--algo", "clip_ppo", "--algo", "sb3:ppo", "--timesteps", "256", "--seeds", "2", *SMALL]
    code, out, err = run("compare", *arguments, "--keep-models", "best", "--out", str(tmp_path))
    assert code == 0
    words = " ".join(out.split())
    assert "On CartPole-v1 " in words[words.rindex("•") :]  # after the last note
    assert words.endswith("(n = 2, few; 95 %).")
    kept = [Path(line.removeprefix("written: ")) for line in err.splitlines() if "models" in line]
    assert [path.name[:-1] for path in kept] == ["clip_ppo-CartPole-v1-seed", "sb3-ppo-CartPole-v1-seed"]
    assert all((path / "model.zip").is_file() for path in kept)
    code, out, _ = run("evaluate", str(kept[1]), "--episodes", "1")
    assert (code, out.partition(":")[0]) == (0, "sb3")
    code, _, err = run("compare", *arguments, "--keep-models", "last", "--out", str(tmp_path))
    assert (code, "keep_models is 'best' or 'all', got 'last'" in err) == (2, True)


def trials(out: Path) -> dict[str, list[str]]:
    with open_store(storage_url(None, out), study_name(out), write=False) as store:
        runs: dict[str, list[str]] = {}
        for trial in store.trials():
            runs.setdefault(trial.user_attrs[RUN], []).append(trial.state.name)
    return runs


def arguments(out: Path) -> list[str]:
    run = ["compare", "--algo", "sb3:ppo", "--timesteps", "1500", "--seeds", "6", "--jobs", "2"]
    return [*run, "--out", str(out), *SMALL]


@pytest.mark.long
@pytest.mark.usefixtures("blank_pictures")
def test_interrupted_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Forked(tmp_path, "-m", "sb3_ppo_variants", *arguments(tmp_path))
    process.wait_for("[1/6]")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) == 130
    err = process.stderr
    kept = rf"to resume; finished runs are kept in sqlite:///{re.escape(str(tmp_path))}/ledger\.db"
    done = re.search(rf"interrupted with (\d) of 6 runs done; rerun the command {kept}", err)
    assert done, err
    before = trials(tmp_path)
    finished = [key for key, states in before.items() if "COMPLETE" in states]
    assert len(finished) == int(done[1]) < 6
    without_workers(monkeypatch)
    code, out, err = run(*arguments(tmp_path))
    assert code == 0
    assert f"{done[1]} of 6 runs were done before" in err
    assert re.search(r"sb3:ppo \(our settings\) +[\d.]+ \(IQM\)", out)
    assert list(trials(tmp_path).values()) == [["COMPLETE"]] * 6
    # A worker gives what this process gives: one thread in both.
    with (tmp_path / "runs.csv").open() as file:
        scores = {row["seed"]: float(row["final_return"]) for row in csv.DictReader(file)}
    by_worker = Run(**json.loads(finished[0]))
    assert scores[str(by_worker.seed)] == train_run(by_worker).final_return


def test_worker_says_what_replaces_it() -> None:
    code, _, err = run("worker", "--storage", "ledger.db", "--study", "x")
    assert code == 2
    assert "start dask worker tcp://HOST:8786, then give compare or tune --executor dask:tcp://HOST:8786" in err
    assert "worker" not in run("--help")[1]


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_a_measurement_counts_its_rounds(workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[int] = []
    calls: list[Any] = []

    def measure(*given: Any, **_options: Any) -> list[Any]:
        calls.extend(argument for argument in given if callable(argument))
        return []

    module = importlib.import_module("sb3_ppo_variants.cli.speed")

    class Counted(module._Rounds):  # type: ignore[misc, name-defined]  # found at run time
        def __init__(self, total: int):
            totals.append(total)
            super().__init__(total)

    monkeypatch.setattr(module, "_Rounds", Counted)
    for name in ("speed", "speed_of_workers"):
        monkeypatch.setattr(f"sb3_ppo_variants.experiments.speed.{name}", measure)
    sizes = [*("--env", "A", "--env", "B"), *("--n-envs", "2", "--n-envs", "4"), *("--width", "8", "--width", "16")]
    code, out, err = run("speed", *sizes, "--rounds", "4", *workers)
    assert (code, out, err) == (0, "", "")  # no bar where there is no terminal
    assert totals == [8 * 5]  # a warm-up and four rounds of each configuration
    (tick,) = calls
    assert tick.__name__ == "advance"


def test_an_interrupted_measurement_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_given: object, **_options: object) -> Iterator[None]:
        yield None
        raise KeyboardInterrupt

    monkeypatch.setattr("sb3_ppo_variants.experiments.speed.speed", measure)
    monkeypatch.setattr("sb3_ppo_variants.experiments.speed.as_json", lambda measurements: [None] * len(measurements))
    monkeypatch.setattr("sb3_ppo_variants.experiments.speed.speed_table", lambda measurement: "")
    code, _, err = run("speed", "--json", str(tmp_path / "s.json"))
    assert code == 130
    assert (
        err.strip()
        == f"interrupted; {tmp_path}/s.json holds the configurations measured; rerun the command to start again"
    )
    assert json.loads((tmp_path / "s.json").read_text()) == [None]
    code, _, err = run("speed")
    assert (code, err.strip()) == (130, "interrupted; rerun the command to start again")


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(tmp_path: Path) -> None:
    command = ["train", "--algo", "clip_ppo", "--env", "CartPole-v1", "--timesteps", "64", "--set", "n_steps=64"]
    code, _, err = run(*command, "--set", "batch_size=48", "--out", str(tmp_path))
    assert code == 0
    assert err.strip().startswith("Warning: batch_size=48 does not divide the rollout")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.usefixtures("blank_pictures")
def test_tune_prints_best_and_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yml").write_text("clip_range: [0.1, 0.2]\nn_epochs: {kind: integer, low: 9, high: 10}\n")
    command = ["tune", "--algo", "clip_ppo", "--trials", "4", "--timesteps", "128", "--seeds", "1", "--confirm", "1"]
    command += ["--set", "n_steps=64", "--set", "batch_size=32", "--space", "space.yml", "--sampler", "random"]
    code, out, err = run(*command)
    assert code == 0
    assert "4 trials: 4 done" in out
    assert "0 (defaults)" in out
    assert re.search(r"Verdict: (trial \d beats|no tuned setting is shown to beat) the documented defaults", out)
    assert re.search(r"\[4/4\] trial \d: score [\d.]+ .*best [\d.]+ \(trial \d\) · defaults [\d.]+", err)
    assert (tmp_path / "runs/tune-clip_ppo/report.html").is_file()
    with (tmp_path / "runs/tune-clip_ppo/trials.csv").open() as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    code, _, err = run(*command, "--trials", "5", "--confirm", "0")
    assert code == 0
    assert "4 of 5 trials were done before" in err
    code, _, err = run(*command[:-1], "tpe")
    assert code == 2
    assert "has another plan: sampler is random, the command's tpe. Give another --out" in err


def tuning_command(out: Path, trials: int) -> list[str]:
    settings = ["--only", "n_epochs", "--set", "n_steps=256", "--sampler", "random"]
    sizes = ["--trials", str(trials), "--timesteps", "4096", "--seeds", "2", "--confirm", "0", "--jobs", "2"]
    return ["tune", "--algo", "clip_ppo", *sizes, *settings, "--out", str(out)]


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.usefixtures("blank_pictures")
def test_interrupted_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals) -> None:
    process = Forked(tmp_path, "-m", "sb3_ppo_variants", *tuning_command(tmp_path, 5))
    process.wait_for("/5] trial")
    os.kill(process.pid, how)
    code, err = process.wait(timeout=120), process.stderr
    if how == signal.SIGINT:
        assert code == 130
        kept = rf"rerun the command to resume; finished \w+ are kept in sqlite:///{re.escape(str(tmp_path))}/ledger.db"
        assert re.search(kept, err), err
    with open_store(storage_url(None, tmp_path), study_name(tmp_path), write=False) as store:
        before = store.trials()
    assert [t for t in before if t.state == TrialState.COMPLETE]
    without_workers(monkeypatch)
    code, out, _ = run(*tuning_command(tmp_path, 5))
    assert code == 0
    assert "5 trials: 5 done" in out
    with open_store(storage_url(None, tmp_path), study_name(tmp_path), write=False) as store:
        after = store.trials()
    # Nothing finished is repeated, and what was under way keeps its settings.
    assert [t.state.name for t in after] == ["COMPLETE"] * 5
    assert [t.params for t in after[: len(before)]] == [t.params for t in before]
