"""Tuning studies in this process: what a trial is, how it fails, and how a study is resumed."""

import csv
import dataclasses
import io
import itertools
import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from sb3_ppo_variants.experiments.comparison.comparison import compare
from sb3_ppo_variants.experiments.engine.storage import RUNS_SUFFIX, storage_url
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, PLAN, RUN, open_store
from sb3_ppo_variants.experiments.engine.task import Outcome, Task
from sb3_ppo_variants.experiments.runs.run import Run, train_run
from sb3_ppo_variants.experiments.runs.seeds import test_seeds, tuning_seeds
from sb3_ppo_variants.experiments.search_space.dimensions import BandRatio, Choice, Integer, Real
from sb3_ppo_variants.experiments.search_space.spaces import EARLIER_RANGES, RANGES
from sb3_ppo_variants.experiments.tuning.confirmation_runs import best_settings, check_test_seeds
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.progress import StudyDisplay
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER
from sb3_ppo_variants.experiments.tuning.study import tune
from sb3_ppo_variants.experiments.tuning.trial_runs import TrialsToDo, thinned
from tests.experiments.fakes import make_record
from tests.experiments.in_process import InProcess, without_workers
from tests.experiments.tuning import troubled  # noqa: F401 (registers its environments)
from tests.experiments.tuning.fake_trials import STUDY, cheap, cheap_plan, do_trials
from tests.experiments.tuning.small_studies import SMALL, small
from tests.forms import long


def states(folder: Path, study: str = STUDY) -> dict[str, int]:
    """How many trials a study has in each of Optuna's states."""
    with open_store(storage_url(None, folder), study, write=False) as store:
        return dict(Counter(t.state.name for t in store.trials()))


test_seeds.__test__ = False  # type: ignore[attr-defined]  # a function of the package, not a test


@pytest.fixture
def cheap_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes and no training."""
    without_workers(monkeypatch).function = cheap


@pytest.mark.usefixtures("blank_pictures")
def test_a_whole_study(tmp_path: Path, here: None) -> None:
    tuned = small(tmp_path, confirm=2)
    assert [t.number for t in tuned.trials] == [0, 1, 2]
    assert tuned.trials[0].settings == SMALL
    assert tuned.trials[0].values == {"clip_range": 0.2, "n_epochs": 10}
    for trial in tuned.trials:  # each stored trial gives the same again, to the bit
        again = [train_run(run).final_return for run in tuned.plan.runs(trial.settings, tuning_seeds(2))]
        assert trial.returns == {"CartPole-v1": again}
        assert trial.score == pytest.approx(np.mean(again))
    best = sorted(tuned.trials[1:], key=lambda t: -(t.score or 0))
    assert [c.name for c in tuned.candidates] == ["defaults", *(f"trial {t.number}" for t in best)]
    assert tuned.best is not None
    assert tuned.best.score == max(t.score or 0 for t in tuned.trials)
    for candidate in tuned.candidates:
        assert len(candidate.returns["CartPole-v1"]) == 10
        assert not candidate.failed
    seed = test_seeds(10)[3]
    alone = train_run(Run("clip_ppo", "CartPole-v1", seed, 128, 1, tuned.candidates[1].settings))
    assert tuned.candidates[1].returns["CartPole-v1"][3] == alone.final_return
    assert tuned.verdict is not None
    assert {"trials.csv", "study.json", "report.html"} <= {path.name for path in tuned.files}
    assert all(path.is_file() for path in tuned.files)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [t.score for t in tuned.trials]
    assert [float(x) for x in rows[1]["return CartPole-v1"].split()] == tuned.trials[1].returns["CartPole-v1"]
    study = json.loads((tmp_path / "study.json").read_text())
    assert StudyPlan.from_json(study["plan"]) == tuned.plan
    assert [t["settings"] for t in study["trials"]] == [t.settings for t in tuned.trials]
    assert [c["returns"] for c in study["candidates"]] == [c.returns for c in tuned.candidates]


def test_a_rerun_repeats_nothing_and_more_trials_extend(tmp_path: Path, cheap_runs: None, no_report: None) -> None:
    first = small(tmp_path)
    assert small(tmp_path) == first
    longer = small(tmp_path, trials=5)
    assert [t.number for t in longer.trials] == [0, 1, 2, 3, 4]
    assert longer.trials[:3] == first.trials
    assert small(tmp_path, trials=2).trials == longer.trials  # what is there is there


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": 256}, "timesteps is 128, the command's 256"),
        long({"seeds": 3}, "seeds is 2, the command's 3"),
        ({"only": ["n_epochs"]}, "space has .* for clip_range, the command nothing"),
        long({"settings": {**SMALL, "gamma": 0.9}}, r"fixed has nothing for gamma, the command 0\.9"),
        long({"sampler": "random"}, "sampler is tpe, the command's random"),
        ({"environments": ["CartPole-v1", "Acrobot-v1"]}, "environments is .*Give another --out"),
    ],
)
def test_another_plan_is_refused(
    tmp_path: Path, cheap_runs: None, no_report: None, changes: dict[str, Any], message: str
) -> None:
    small(tmp_path, trials=1)
    with pytest.raises(ValueError, match=message):
        small(tmp_path, **changes)


def test_a_study_begun_with_earlier_ranges_keeps_them(tmp_path: Path, here: None, no_report: None) -> None:
    earlier = {"clip_range": RANGES["clip_range"], "n_epochs": EARLIER_RANGES["n_epochs"]}
    small(tmp_path, trials=2, seeds=1, space=earlier, only=[])
    extended = small(tmp_path, trials=3, seeds=1)
    assert extended.plan.space == earlier
    assert len(extended.trials) == 3
    with pytest.raises(ValueError, match=r"has another plan: space has .*for n_epochs"):
        small(tmp_path, trials=3, seeds=1, space=earlier | {"n_epochs": Integer(3, 12)}, only=[])


def test_a_study_and_a_comparison_do_not_share_a_ledger(tmp_path: Path, here: None, no_report: None) -> None:
    small(tmp_path / "a", trials=1)
    with pytest.raises(ValueError, match="is a tuning study: give another --out"):
        compare("CartPole-v1", ["sb3:ppo"], seeds=1, timesteps=128, out=tmp_path / "a")
    with open_store(f"sqlite:///{tmp_path / 'b' / 'ledger.db'}", "b") as store:
        store.add(make_record(Run("sb3:ppo", "CartPole-v1", 0, 128)))
    with pytest.raises(ValueError, match="is a comparison: give another --out"):
        small(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials=0 is out of range: it must be >= 1. The first"),
        ({"jobs": 0}, "jobs=0 is out of range: it must be >= 1"),
        ({"seeds": 0}, "seeds=0 is out of range: it must be >= 1"),
        ({"n_envs": 1001}, "n_envs=1001 is out of range: it must be >= 1 and <= 1000"),
        ({"confirm": 1, "test_seeds": 9}, "at least 10 test seeds, got 9: raise --test-seeds, or .* --confirm 0"),
        ({"confirm": -1}, "confirm=-1 is out of range: it must be >= 0"),
        ({"trial_timeout": 0.0}, "trial_timeout=0.0 is out of range: it must be finite and > 0"),
        ({"sampler": "tep"}, "Did you mean 'tpe'"),
        ({"sampler_seed": -1}, "sampler_seed=-1 is out of range: it must be >= 0"),
        ({"only": ["clip_rang"]}, "Did you mean 'clip_range'"),
        ({"only": ["max_grad_norm"]}, "'max_grad_norm' is not in the space of clip_ppo"),
        ({"only": ["batch_size"]}, "fixed with --set and searched with --only"),
        ({"settings": {"clip_range": -1}}, "does not take the settings"),
        ({"settings": {"clip_rang": 1}}, "Did you mean 'clip_range'"),
        ({"environments": "CartPol-v1"}, "Cannot make the environment 'CartPol-v1'"),
        ({"environments": []}, "A study needs an environment"),
        ({"references": {"Acrobot-v1": (0, 1)}}, "'Acrobot-v1', which is not in the study"),
        ({"references": {"CartPole-v1": (500, 22)}}, "must lie above its random return"),
        (
            {"space": {"clip_range": Real(0.3, 0.4)}, "only": []},
            "Trial 0 is the defaults, and clip_range=0.2 lies outside",
        ),
        ({"space": {"clip_rang": Real(0.3, 0.4)}, "only": []}, "Did you mean 'clip_range'"),
        ({"space": {"n_steps": Choice((64, 128))}, "only": []}, "fixed with --set and searched in the space"),
        ({"space": {"n_epochs": Integer(3, 10)}, "only": ["clip_range"]}, "'clip_range' is not in the space"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    tmp_path: Path, here: None, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(tmp_path / "out", **changes)
    assert not (tmp_path / "out" / "ledger.db").exists()


def test_own_space_and_peers(tmp_path: Path, here: None, no_report: None) -> None:
    space = {"n_epochs": Choice((1, 10)), "policy_kwargs": Choice((None, {"net_arch": [4]}))}
    tuned = tune("sb3:ppo", trials=4, timesteps=128, seeds=1, confirm=0, settings=SMALL, space=space, out=tmp_path)
    # A peer runs with the documented defaults, so trial 0 does.
    assert tuned.trials[0].settings["ent_coef"] == 0.01
    assert all(t.state == "done" for t in tuned.trials)
    for trial in tuned.trials[1:]:
        assert trial.settings["n_epochs"] in (1, 10)
        assert trial.settings["policy_kwargs"] in (None, {"net_arch": [4]})


@pytest.mark.parametrize("chosen", [{}, {"only": ["n_epochs"]}, {"space": {"n_epochs": Choice((1, 10))}}])
def test_arguments_for_which_no_range_is_known_are_named(
    chosen: dict[str, Any], tmp_path: Path, cheap_runs: None, no_report: None
) -> None:
    said = io.StringIO()
    arguments = {"trials": 1, "timesteps": 128, "confirm": 0, "settings": SMALL, "out": tmp_path} | chosen
    tune("tests.experiments.mine:MyPPO", **arguments, console=Console(file=said, width=200))
    named = "Not searched, because no range is known: my_argument. --space takes a space of your own."
    assert (named in said.getvalue()) == (not chosen)


def test_the_time_left_includes_the_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheap_runs: None, no_report: None
) -> None:
    minutes = itertools.count(step=60.0)
    clock = SimpleNamespace(monotonic=lambda: next(minutes))
    monkeypatch.setattr("sb3_ppo_variants.experiments.engine.progress.time", clock)
    said = io.StringIO()
    small(tmp_path, confirm=3, test_seeds=10, console=Console(file=said, width=200))
    # A trial a minute, by this clock. After the first there are two more, and the three settings with ten seeds instead
    # of two: 15 trials' work.
    lefts = [line.rpartition(" · about ")[2] for line in said.getvalue().splitlines()[:3]]
    assert lefts == ["17 min left", "16 min left", "15 min left"]


def test_that_workers_collect_belongs_to_the_plan_and_their_number_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    executor = without_workers(monkeypatch)
    executor.function = cheap
    small(tmp_path, n_envs=2, rollout_workers=8)
    assert {(task.run.vec_env, task.rollout_workers) for task in executor.tasks} == {("WorkerVecEnv", 2)}
    done = len(executor.tasks)
    assert small(tmp_path, n_envs=2, rollout_workers=1).plan.vec_env == "WorkerVecEnv"
    assert len(executor.tasks) == done
    with pytest.raises(ValueError, match=r"another plan: vec_env is WorkerVecEnv, the command's None"):
        small(tmp_path, n_envs=2)


# ---- small spaces ----


def test_settings_that_have_been_scored_are_not_run_again_and_an_exhausted_space_ends_the_study(tmp_path: Path) -> None:
    plan, executor = cheap_plan(space={"n_epochs": Integer(8, 10)}, seeds=1), InProcess(cheap)
    records = do_trials(tmp_path, plan, 30, executor)
    # The defaults have 10 epochs: an explicit 10 is the same call.
    assert sorted(task.run.settings.get("n_epochs", 10) for task in executor.tasks) == [8, 9, 10]
    reused = [t for t in records if t.reused is not None]
    assert len(records) == 3 + len(reused) < 30
    for trial in reused:
        equal = next(t for t in records if t.number == trial.reused)
        assert trial.values == equal.values
        assert (trial.returns, trial.score) == (equal.returns, equal.score)
    again = InProcess(cheap)
    assert do_trials(tmp_path, plan, 30, again) == records
    assert not again.tasks
    assert states(tmp_path) == {"COMPLETE": len(records)}


def test_the_confirmed_settings_are_distinct_and_not_the_defaults(tmp_path: Path) -> None:
    plan = cheap_plan(space={"n_epochs": Integer(7, 10)}, seeds=1)
    chosen = best_settings(plan, do_trials(tmp_path, plan, 12), 3)
    assert [trial.values["n_epochs"] for trial in chosen.values()] == [7, 8, 9]  # the best is nearest to 6


@pytest.mark.long
def test_settings_that_have_been_confirmed_stay_candidates(tmp_path: Path, cheap_runs: None, no_report: None) -> None:
    """Whoever looks again, at fewer or at others, does not get narrower intervals for it."""
    first = small(tmp_path, trials=5, confirm=3, timesteps=1)
    assert len(first.candidates) == 4
    again = small(tmp_path, trials=5, confirm=1, timesteps=1)
    assert [c.name for c in again.candidates] == [c.name for c in first.candidates]
    assert again.verdict.level == first.verdict.level == pytest.approx(1 - 0.05 / 3)
    more = small(tmp_path, trials=9, confirm=3, timesteps=1)
    assert {c.name for c in more.candidates} >= {c.name for c in first.candidates}
    assert more.verdict.level == pytest.approx(1 - 0.05 / (len(more.candidates) - 1))
    message = "has been confirmed on 10 test seeds, and 12 are asked for.*Give --test-seeds 10, or another --out"
    with pytest.raises(ValueError, match=message):
        small(tmp_path, trials=20, confirm=3, test_seeds=12, timesteps=1)
    assert states(tmp_path, tmp_path.name) == {"COMPLETE": 9}  # said before any of the eleven others ran


def test_a_confirmation_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    executor, arguments = without_workers(monkeypatch), {"trials": 3, "confirm": 1, "timesteps": 1}
    executor.function = cheap
    whole = small(tmp_path / "whole", **arguments)

    def killed(task: Task) -> Outcome:
        if task.run.seed == test_seeds(10)[2]:
            raise Killed
        return cheap(task)

    executor.function = killed
    with pytest.raises(Killed):
        small(tmp_path / "parts", **arguments)
    with pytest.raises(ValueError, match="has been confirmed on 10 test seeds, and 12 are asked for"):
        small(tmp_path / "parts", test_seeds=12, **arguments)
    executor.function = cheap
    assert small(tmp_path / "parts", **arguments).candidates == whole.candidates


@pytest.mark.parametrize(("own", "imported", "refused"), [(2, 0, False), (2, 10, False), (0, 10, False), (10, 0, True)])
def test_seeds_in_ledgers_that_do_not_have_their_number(own: int, imported: int, refused: bool, tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'ledger.db'}", "study") as store:
        for number, seed in enumerate(test_seeds(own + imported)):
            record = make_record(Run("clip_ppo", "CartPole-v1", seed, 1))
            store.add(record if number < own else dataclasses.replace(record, imported_from="elsewhere"))
        with pytest.raises(ValueError, match="on 10 test seeds, and 12") if refused else nullcontext():
            check_test_seeds(store, 12)


def test_the_report_is_written_before_an_export_that_fails(tmp_path: Path, cheap_runs: None, no_report: None) -> None:
    small(tmp_path / "a", trials=2, timesteps=1, export=tmp_path / "exported")
    with pytest.raises(ValueError, match="holds other runs"):
        small(tmp_path / "b", trials=2, timesteps=2, export=tmp_path / "exported")
    assert (tmp_path / "b/trials.csv").is_file()


def test_a_study_scored_by_ranks_shows_samplers_the_trials_under_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = cheap_plan(environments=("CartPole-v1", "Acrobot-v1"), aggregation="ranks")
    with open_store(f"sqlite:///{tmp_path / 'ledger.db'}", "a") as store, open_store(store.url, "b") as runs:
        store.keep(PLAN, plan.to_json())
        work = TrialsToDo(store, runs, plan, 3, None, StudyDisplay(3, Console(quiet=True)))
        for _ in range(9):  # four runs each: two trials are under way, and a third has begun
            assert work.next() is not None
        states = [trial.state for trial in work._rescored(store.study).trials]
        assert states == [TrialState.RUNNING] * 3
    assert "A new study created" not in capfd.readouterr().err


def test_a_multiple_of_a_schedule_is_refused(tmp_path: Path) -> None:
    space = {"clip_range": Choice((0.1, 0.2, "lin_0.2")), "clip_range_high": BandRatio(0.5, 2.0)}
    with pytest.raises(ValueError, match=r"band_ratio is a multiple of clip_range.*a schedule has no multiple"):
        small(tmp_path, space=space, only=[])


def test_a_comparison_puts_nothing_into_a_study(tmp_path: Path, cheap_runs: None, no_report: None) -> None:
    small(tmp_path / "a", trials=1, timesteps=1, export=tmp_path / "exported")
    before = states(tmp_path / "a", "a")
    with pytest.raises(ValueError, match="is a tuning study: give another --out"):
        compare(
            "CartPole-v1", ["clip_ppo"], seeds=1, timesteps=1, out=tmp_path / "a", overwrite=True,
            imports=str(tmp_path / "exported"),
        )  # fmt: skip
    assert states(tmp_path / "a", "a") == before


def test_a_run_may_have_no_curve() -> None:
    """As one that has been imported from a table of runs alone."""
    assert thinned([], 100) == []


def test_a_budget_below_one_update_gives_a_warning(tmp_path: Path, here: None, no_report: None) -> None:
    said = {}
    for timesteps in (64, 65):
        console = Console(file=io.StringIO(), width=200)
        small(tmp_path / str(timesteps), timesteps=timesteps, trials=1, console=console)
        said[timesteps] = console.file.getvalue()
    assert "timesteps=64 are collected before the first update (n_steps=64 × 1 environments)" in said[64]
    assert "first update" not in said[65]


# ---- interruptions ----


class Killed(BaseException):
    """Ends the command as kill -9 does: nothing is told afterwards."""


@pytest.mark.parametrize(("sampler", "runs"), [("tpe", 24), long("random", 1), long("tpe", 4), long("random", 5)])
def test_a_killed_study_goes_on_as_if_it_had_not_been_killed(tmp_path: Path, sampler: str, runs: int) -> None:
    plan, executor = cheap_plan(sampler=sampler), InProcess(cheap)

    def killed(task: Task) -> Outcome:
        if len(executor.tasks) > runs:
            raise Killed
        return cheap(task)

    executor.function = killed
    with pytest.raises(Killed):
        do_trials(tmp_path, plan, 13, executor)
    assert states(tmp_path) == {"RUNNING": 1, **({"COMPLETE": runs // 2} if runs > 1 else {})}
    rest = InProcess(cheap)
    found = do_trials(tmp_path, plan, 13, rest)
    assert len(rest.tasks) == 26 - runs  # nothing finished is repeated
    assert states(tmp_path) == {"COMPLETE": 13}
    alone = do_trials(tmp_path / "alone", plan, 13)
    assert [(t.number, t.values, t.returns, t.score, t.seconds) for t in found] == [
        (t.number, t.values, t.returns, t.score, t.seconds) for t in alone
    ]


def test_what_a_kill_leaves_between_two_transactions_is_not_a_trial(tmp_path: Path) -> None:
    plan = cheap_plan()
    do_trials(tmp_path, plan, 2)
    with open_store(storage_url(None, tmp_path), STUDY) as store:
        store.study.enqueue_trial({}, {RUN: "trial 2", DESCRIPTION: {NUMBER: 2}})
        store.study.ask()  # it has its place in the study and no settings yet
        store.study.enqueue_trial({}, {RUN: "trial 3", DESCRIPTION: {NUMBER: 3}})
        store.study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    found = do_trials(tmp_path, plan, 4)
    assert [(t.number, t.state) for t in found] == [(n, "done") for n in range(4)]
    assert found == do_trials(tmp_path, plan, 4)
    assert states(tmp_path) == {"COMPLETE": 4, "FAIL": 2}


def test_the_runs_of_one_trial_are_spread_first(tmp_path: Path) -> None:
    """So that TPE sees as many finished trials as possible."""
    plan = cheap_plan(seeds=3)
    with open_store(storage_url(None, tmp_path), STUDY) as store, open_store(store.url, STUDY + RUNS_SUFFIX) as runs:
        work = TrialsToDo(store, runs, plan, 3, None, StudyDisplay(3, Console(quiet=True)))
        started = [work.next() for _ in range(4)]
        settings = [run.settings for run, _ in filter(None, started)]
        assert settings[0] == settings[1] == settings[2] == {}
        assert settings[3] != {}
        assert [run.seed for run, _ in filter(None, started)] == [0, 1000, 2000, 0]


def test_failed_runs_end_their_trial_and_the_rest_of_it_is_not_started(tmp_path: Path) -> None:
    executor = InProcess(lambda task: Outcome(reason=f"env: seed {task.run.seed}"))
    (trial,) = do_trials(tmp_path, cheap_plan(seeds=3), 1, executor)
    assert (trial.state, trial.reason) == ("failed", "env: seed 0")
    assert len(executor.tasks) == 1


# ---- scores ----


def test_with_ranks_the_sampler_sees_what_the_report_will_say(tmp_path: Path) -> None:
    plan = cheap_plan(environments=("CartPole-v1", "Acrobot-v1"), aggregation="ranks")
    said = do_trials(tmp_path, plan, 8)
    with open_store(storage_url(None, tmp_path), STUDY) as store, open_store(store.url, STUDY + RUNS_SUFFIX) as runs:
        work = TrialsToDo(store, runs, plan, 8, None, StudyDisplay(8, Console(quiet=True)))
        seen, told = work._rescored(store.study), store.trials(TrialState.COMPLETE)
    assert [t.value for t in seen.get_trials()] == [t.score for t in said]
    assert [t.params for t in seen.get_trials()] == [t.params for t in told]
    # The ledger has the ranks of the time; the first trial had nobody to compare with.
    centers = [np.mean(t.returns["CartPole-v1"]) for t in said]  # in both environments the same
    expected = [0.5] + [np.mean([c > other for other in centers[:i]]) for i, c in enumerate(centers) if i]
    assert [t.value for t in told] == pytest.approx(expected)
    ranks = [np.mean([c > other for j, other in enumerate(centers) if j != i]) for i, c in enumerate(centers)]
    assert [t.score for t in said] == pytest.approx(ranks)


def test_aggregation_follows_the_references(tmp_path: Path, here: None, no_report: None) -> None:
    both = ["CartPole-v1", "Troubled-none-v0"]
    few: dict[str, Any] = {"trials": 2, "seeds": 1, "environments": both, "timesteps": 128}
    assert small(tmp_path / "ranks", **few).plan.aggregation == "ranks"
    scaled = small(
        tmp_path / "scaled", references={"Troubled-none-v0": (0.0, 20.0), "CartPole-v1": (0.0, 100.0)}, **few
    )
    assert scaled.plan.aggregation == "normalised"
    first = scaled.trials[0]
    expected = (first.returns["Troubled-none-v0"][0] / 20 + first.returns["CartPole-v1"][0] / 100) / 2
    assert first.score == pytest.approx(expected)
    assert first.returns["Troubled-none-v0"] == [10.0]
