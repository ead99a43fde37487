"""Why trials fail, when a study stops for it, and the verdict where nothing is left to confirm."""

import csv
import datetime
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, REASON, open_store
from sb3_ppo_variants.experiments.engine.task import hung
from sb3_ppo_variants.experiments.runs.guard import not_finite
from sb3_ppo_variants.experiments.search_space.dimensions import Choice, Real
from sb3_ppo_variants.experiments.tuning.failures import repeated_error
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER
from sb3_ppo_variants.experiments.tuning.study import Tuned, tune
from tests.experiments.in_process import InProcess, without_workers
from tests.experiments.tuning import troubled  # noqa: F401 (registers its environments)
from tests.experiments.tuning.fake_trials import SPACE, cheap, cheap_plan, do_trials
from tests.experiments.tuning.small_studies import SMALL, small
from tests.forms import long


def fussy_study(out: Path, **changes: Any) -> Tuned:
    """Of an algorithm that builds with the ends of the space and refuses what lies between, naming it."""
    space = {"learning_rate": SPACE["learning_rate"]}
    arguments: dict[str, Any] = {"timesteps": 128, "seeds": 1, "settings": SMALL, "space": space, "out": out}
    return tune("tests.experiments.mine:Fussy", **arguments, **changes)


def test_nothing_is_run_where_there_is_nothing_to_confirm(tmp_path: Path, here: None, no_report: None) -> None:
    found = fussy_study(tmp_path, trials=3, confirm=2)
    assert found.candidates == []
    assert "2 of the 2 trials other than the defaults failed" in found.verdict.words
    assert found.verdict.winner is None


BOTH = [
    ("Troubled-step-v0", {}, "env: RuntimeError: the motor burned"),
    ("Troubled-observation-v0", {}, "nan: "),
    ("Troubled-reward-v0", {}, "nan: "),
    ("Troubled-endless-v0", {}, "config: ValueError: No episode of Troubled-endless-v0 finished"),
    ("Troubled-none-v0", {"batch_size": "x"}, "config: "),
    ("Nowhere-v0", {}, "config: NameNotFound"),
]


@pytest.mark.parametrize(
    ("algorithm", "environment", "settings", "reason"),
    [
        # Ours looks for numbers that are not finite itself, SB3's does not.
        *(("clip_ppo", *case) for case in BOTH),
        *(long("sb3:ppo", *case) for case in BOTH),
        ("clip_ppo", "Troubled-huge-v0", {}, "nan: "),
        ("sb3:ppo", "Troubled-none-v0", {"vf_coef": 1e38}, "nan: "),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_failed_trial_says_of_which_kind(
    tmp_path: Path, algorithm: str, environment: str, settings: dict[str, Any], reason: str
) -> None:
    fixed = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, **settings}
    space = {"clip_range": SPACE["clip_range"]}
    plan = cheap_plan(algorithm=algorithm, environments=(environment,), timesteps=128, fixed=fixed, space=space)
    records = do_trials(tmp_path, plan, 2, InProcess())
    assert [t.state for t in records] == ["failed", "failed"]
    for trial in records:
        assert str(trial.reason).startswith(reason)
        assert trial.returns == {}
        assert trial.score is None
    again = InProcess()
    assert do_trials(tmp_path, plan, 2, again) == records
    assert not again.tasks  # it counts, and is not tried again


TOO_LONG = (
    "timeout: the trial took longer than {} s; allow more with --trial-timeout, in a study with another --out, since a "
    "trial that failed counts and is not repeated"
)


def test_a_trial_that_takes_too_long_fails(tmp_path: Path) -> None:
    executor = InProcess(cheap)
    (trial,) = do_trials(tmp_path, cheap_plan(timesteps=300), 1, executor, timeout=0.4)  # two runs of 0.3 s
    assert [task.timeout for task in executor.tasks] == [0.4, pytest.approx(0.1)]
    assert trial.reason == TOO_LONG.format("0.4")


def test_a_run_that_takes_too_long_ends_itself(tmp_path: Path) -> None:
    plan = cheap_plan(timesteps=10**6, fixed={"n_steps": 32, "batch_size": 32})
    (trial,) = do_trials(tmp_path, plan, 1, InProcess(), timeout=1.0)
    assert trial.reason == TOO_LONG.format("1")


def test_finite_models_are_finite() -> None:
    from sb3_ppo_variants import ClipPPO

    model = ClipPPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32)
    model.learn(32)
    assert not_finite(model) is None
    next(model.policy.parameters()).data[0] = float("inf")
    assert not_finite(model) == "the policy's parameters"


@pytest.mark.usefixtures("blank_pictures")
def test_the_same_config_error_three_times_running_stops_the_study(tmp_path: Path, here: None) -> None:
    def study() -> Tuned:
        picky = "tests.experiments.tuning.fake_trials:Picky"  # builds with the defaults and with nothing else
        space = {"learning_rate": SPACE["learning_rate"]}
        return tune(picky, trials=20, timesteps=128, seeds=1, confirm=0, settings=SMALL, space=space, out=tmp_path)

    message = r"The last 3 trials failed with the same error, 'config: ValueError: picky'.* is stopped\..*another --out"
    with pytest.raises(ValueError, match=message):
        study()
    with open_store(storage_url(None, tmp_path), tmp_path.name, write=False) as store:
        states = Counter(t.state.name for t in store.trials())
    assert states == {"COMPLETE": 1, "FAIL": 3}
    with pytest.raises(ValueError, match=message) as raised:  # and it stays so
        study()
    # What had finished is not lost.
    assert str(tmp_path / "trials.csv") in str(raised.value)
    assert (tmp_path / "report.html").exists()
    with (tmp_path / "trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["done", "failed", "failed", "failed"]


def test_a_space_that_reaches_what_the_constructor_refuses_is_named_before_anything_runs(tmp_path: Path) -> None:
    message = r"batch_size in the space reaches 0: .*batch_size.* Narrow its range"
    with pytest.raises(ValueError, match=message):
        small(tmp_path, only=(), space={"batch_size": Choice([32, 64, 0])}, settings={"n_steps": 64})
    with pytest.raises(ValueError, match=r"gae_lambda in the space reaches 1\.5: "):
        small(tmp_path, only=(), space={"gae_lambda": Real(0.9, 1.5)})
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.usefixtures("blank_pictures")
def test_the_numbers_in_an_error_do_not_make_it_another(tmp_path: Path, here: None) -> None:
    with pytest.raises(
        ValueError, match=r"3 trials failed with the same error.*learning_rate must be 0\.0003, got 0\.000"
    ):
        fussy_study(tmp_path, trials=20, confirm=0)


def settled(number: int, text: str | None) -> FrozenTrial:
    """A trial that has failed so, or, with ``None``, finished."""
    state = TrialState.FAIL if text else TrialState.COMPLETE
    trial = create_trial(state=state, value=None if text else 1.0)
    trial.number = number
    trial.user_attrs = {DESCRIPTION: {NUMBER: number}, REASON: {"text": text, "trial": number}}
    trial.datetime_complete = datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=number)
    return trial


def test_a_rule_that_a_part_of_the_space_breaks_does_not_stop_a_study() -> None:
    broken = [settled(n, f"config: ValueError: batch_size={n} is too large") for n in (2, 3, 4)]
    assert repeated_error([settled(0, None), *broken]) is not None
    assert repeated_error([settled(0, None), settled(1, None), *broken]) is None
    same = [settled(n, "config: ValueError: nothing fits") for n in (2, 3, 4)]
    assert repeated_error([settled(0, None), settled(1, None), *same]) is not None
    assert repeated_error([settled(0, None), *broken[:2], settled(5, "env: RuntimeError: 1")]) is None


@pytest.mark.long
def test_a_trial_that_hangs_fails(tmp_path: Path, no_report: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run that hangs comes back as; ``test_coordinator.py`` has one that does."""
    without_workers(monkeypatch).function = hung
    (trial,) = small(tmp_path, trials=1, trial_timeout=1.0).trials
    assert trial.state == "failed"
    assert str(trial.reason).startswith("timeout: the run hung: it was to end after 1 s and did not come back for 10 s")


def test_different_errors_do_not_stop_it(tmp_path: Path) -> None:
    fixed = {"n_steps": 32, "batch_size": 32}
    plan = cheap_plan(environments=("Troubled-step-v0",), timesteps=128, fixed=fixed)
    assert [t.state for t in do_trials(tmp_path, plan, 5, InProcess())] == ["failed"] * 5  # env, not config
