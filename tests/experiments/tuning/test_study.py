"""Tuning studies in this process: what a trial is, how it fails, and how a study is resumed."""

import csv
import io
import json
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from sb3_ppo_variants.experiments.comparison.comparison import compare
from sb3_ppo_variants.experiments.engine.ledger import CLAIM, EXECUTOR, Ledger, open_ledger, worker_name
from sb3_ppo_variants.experiments.engine.status import SETTLED
from sb3_ppo_variants.experiments.runs.run import Run, train_run
from sb3_ppo_variants.experiments.runs.seeds import test_seeds, tuning_seeds
from sb3_ppo_variants.experiments.search_space.dimensions import Choice, Integer, Real
from sb3_ppo_variants.experiments.tuning.confirmation_runs import best_settings
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.study import TRIALS, tune
from sb3_ppo_variants.experiments.tuning.trial_runs import Trials
from sb3_ppo_variants.experiments.tuning.trials import EXHAUSTED, read_trials
from tests.experiments.tuning.fake_trials import SPACE, begin, cheap_plan, work_here
from tests.experiments.tuning.small_studies import SMALL, small

MakeLedger = Callable[..., Ledger]
test_seeds.__test__ = False  # type: ignore[attr-defined]  # a function of the package, not a test


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


def test_a_rerun_repeats_nothing_and_more_trials_extend(tmp_path: Path, here: None, no_report: None) -> None:
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
        ({"seeds": 3}, "seeds is 2, the command's 3"),
        ({"only": ["n_epochs"]}, "space has .* for clip_range, the command nothing"),
        ({"settings": {**SMALL, "gamma": 0.9}}, r"fixed has nothing for gamma, the command 0\.9"),
        ({"sampler": "random"}, "sampler is tpe, the command's random"),
        ({"environments": ["CartPole-v1", "Acrobot-v1"]}, "environments is .*Give another --out"),
    ],
)
def test_another_plan_is_refused(
    tmp_path: Path, here: None, no_report: None, changes: dict[str, Any], message: str
) -> None:
    small(tmp_path, trials=1)
    with pytest.raises(ValueError, match=message):
        small(tmp_path, **changes)


def test_a_study_and_a_comparison_do_not_share_a_ledger(tmp_path: Path, here: None, no_report: None) -> None:
    small(tmp_path / "a", trials=1)
    with pytest.raises(ValueError, match="is a tuning study: give another --out"):
        compare("CartPole-v1", ["sb3:ppo"], seeds=1, timesteps=128, out=tmp_path / "a")
    with open_ledger(f"sqlite:///{tmp_path / 'b' / 'ledger.db'}", "b", create=True) as ledger:
        ledger.fill({"x": {}})
    with pytest.raises(ValueError, match="is a comparison: give another --out"):
        small(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials must be a positive integer, got 0"),
        ({"jobs": 0}, "jobs must be a positive integer"),
        ({"seeds": 0}, "seeds must be 1 to 1000"),
        ({"n_envs": 1001}, "n_envs must be 1 to 1000"),
        ({"confirm": 1, "test_seeds": 9}, "at least 10 test seeds, got 9: raise --test-seeds, or .* --confirm 0"),
        ({"confirm": -1}, "confirm must be a whole number from 0"),
        ({"trial_timeout": 0.0}, "positive number of seconds, got 0"),
        ({"sampler": "tep"}, "Did you mean 'tpe'"),
        ({"sampler_seed": -1}, "whole number from 0, got -1"),
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


# ---- small spaces ----


def test_settings_that_have_been_scored_are_not_run_again_and_an_exhausted_space_ends_the_study(
    make_ledger: MakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, plan = make_ledger(), cheap_plan(space={"n_epochs": Integer(8, 10)}, seeds=1)
    trained: list[Run] = []
    monkeypatch.setattr("tests.experiments.tuning.fake_trials.cheap_return", lambda run: trained.append(run) or 1.0)
    batch = begin(ledger, plan, 30)
    work_here(ledger)
    records = read_trials(ledger, plan)
    # The defaults have 10 epochs: an explicit 10 is the same call.
    assert sorted(run.settings.get("n_epochs", 10) for run in trained) == [8, 9, 10]
    reused = [t for t in records if t.reused is not None]
    assert len(records) == 3 + len(reused) < 30
    for trial in reused:
        equal = next(t for t in records if t.number == trial.reused)
        assert trial.values == equal.values
        assert (trial.returns, trial.score) == (equal.returns, equal.score)
    standings = batch.statuses()
    assert Counter(s.state for s in standings.values()) == {"done": len(records), "pruned": 30 - len(records)}
    assert {s.reason for s in standings.values() if s.state == "pruned"} == {EXHAUSTED}
    begin(ledger, plan, 30)
    assert work_here(ledger) == 0
    assert not ledger.trials(TrialState.WAITING)


def test_the_confirmed_settings_are_distinct_and_not_the_defaults(make_ledger: MakeLedger) -> None:
    ledger, plan = make_ledger(), cheap_plan(space={"n_epochs": Integer(7, 10)}, seeds=1)
    begin(ledger, plan, 12)
    work_here(ledger)
    chosen = best_settings(plan, read_trials(ledger, plan), 3)
    assert [trial.values["n_epochs"] for trial in chosen.values()] == [7, 8, 9]  # the best is nearest to 6


def test_settings_that_have_been_confirmed_stay_candidates(tmp_path: Path, here: None, no_report: None) -> None:
    """Whoever looks again, at fewer or at others, does not get narrower intervals for it."""
    first = small(tmp_path, trials=5, confirm=3)
    assert len(first.candidates) == 4
    again = small(tmp_path, trials=5, confirm=1)
    assert [c.name for c in again.candidates] == [c.name for c in first.candidates]
    assert again.verdict.level == first.verdict.level == pytest.approx(1 - 0.05 / 3)
    more = small(tmp_path, trials=9, confirm=3)
    assert {c.name for c in more.candidates} >= {c.name for c in first.candidates}
    assert more.verdict.level == pytest.approx(1 - 0.05 / (len(more.candidates) - 1))
    message = "has been confirmed on 10 test seeds, and 12 are asked for.*Give --test-seeds 10, or another --out"
    with pytest.raises(ValueError, match=message):
        small(tmp_path, trials=20, confirm=3, test_seeds=12)
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path.name, create=False) as ledger:
        assert len(ledger.trials(TrialState.COMPLETE)) == 9  # said before any of the eleven others ran


def test_a_budget_below_one_update_gives_a_warning(tmp_path: Path, here: None, no_report: None) -> None:
    said = {}
    for timesteps in (64, 65):
        console = Console(file=io.StringIO(), width=200)
        small(tmp_path / str(timesteps), timesteps=timesteps, trials=1, console=console)
        said[timesteps] = console.file.getvalue()
    assert "timesteps=64 are collected before the first update (n_steps=64 × 1 environments)" in said[64]
    assert "first update" not in said[65]


# ---- interruptions ----


def test_a_stopped_trial_runs_again_with_the_parameters_that_it_had(make_ledger: MakeLedger) -> None:
    ledger, plan = make_ledger(), cheap_plan(timesteps=200, seeds=1)
    begin(ledger, plan, 3)
    work_here(ledger, lambda: any(t.params for t in ledger.trials(TrialState.RUNNING) if t.number == 1))
    before = ledger.trials()
    assert [t.state.name for t in before] == ["COMPLETE", "FAIL", "WAITING", "WAITING"]
    assert before[3].params == before[1].params
    assert before[1].params
    work_here(make_ledger())
    after = read_trials(ledger, plan)
    assert [(t.number, t.optuna_number) for t in after] == [(0, 0), (1, 3), (2, 2)]
    assert after[1].values == {**before[1].params}


def claimed(ledger: Ledger, pid: int, parameters: Mapping[str, Any]) -> FrozenTrial:
    """What a killed worker leaves: a running trial with its claim and what had been proposed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asking outside optimize() has no heartbeat
        trial = ledger.study.ask()
    trial.set_user_attr(CLAIM, {"name": worker_name(pid), "trial": trial.number})
    for name, (value, distribution) in parameters.items():
        internal = distribution.to_internal_repr(value)
        ledger.study._storage.set_trial_param(trial._trial_id, name, internal, distribution)
    return ledger.trials()[trial.number]


@pytest.mark.parametrize("how", ["rescue", "fill", "stale"])
def test_a_killed_trial_runs_again_with_the_parameters_that_it_had(make_ledger: MakeLedger, how: str) -> None:
    ledger, plan = make_ledger(), cheap_plan(space={"clip_range": SPACE["clip_range"], "n_epochs": SPACE["n_epochs"]})
    begin(ledger, plan, 2)
    process = subprocess.Popen(["true"])
    process.wait()
    had = {name: (value, SPACE[name].distribution) for name, value in (("clip_range", 0.123), ("n_epochs", 4))}
    claimed(ledger, process.pid, {"clip_range": (0.2, had["clip_range"][1]), "n_epochs": (10, had["n_epochs"][1])})
    dead = claimed(ledger, process.pid, had)
    if how == "fill":
        assert ledger.release(dead)  # and then this process is killed, too
        begin(ledger, plan, 2)
    if how == "stale":
        ledger.study._storage.record_heartbeat(dead._trial_id)  # type: ignore[attr-defined]
        ledger.study._storage.set_trial_user_attr(
            dead._trial_id, CLAIM, {"name": "elsewhere/1:1", "trial": dead.number}
        )
    work_here(ledger)
    assert [(t.state, dict(t.values)) for t in read_trials(ledger, plan)] == [
        ("done", {"clip_range": 0.2, "n_epochs": 10}),
        ("done", {"clip_range": 0.123, "n_epochs": 4}),
    ]


# ---- scores ----


def test_with_ranks_the_sampler_sees_what_the_report_will_say(make_ledger: MakeLedger) -> None:
    plan = cheap_plan(environments=("CartPole-v1", "Acrobot-v1"), aggregation="ranks")
    ledger = make_ledger()
    begin(ledger, plan, 8)
    work_here(ledger)
    seen = Trials(ledger)._rescored(ledger.study)
    said = sorted(read_trials(ledger, plan), key=lambda t: t.number)
    assert [t.value for t in seen.get_trials()] == [t.score for t in said]
    assert [t.params for t in seen.get_trials()] == [t.params for t in ledger.trials(TrialState.COMPLETE)]
    # In the ledger stand the ranks of the time; the first trial had nobody to compare with.
    assert ledger.trials(TrialState.COMPLETE)[0].value == 0.5


def test_the_sampler_is_told_ranks_against_what_has_finished(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    plan = cheap_plan(environments=("CartPole-v1", "Acrobot-v1"), aggregation="ranks")
    begin(ledger, plan, 8)
    work_here(ledger)
    told = [t.value for t in ledger.trials(TrialState.COMPLETE)]
    centers = [np.mean(t.returns["CartPole-v1"]) for t in read_trials(ledger, plan)]  # in both environments the same
    expected = [0.5] + [np.mean([c > other for other in centers[:i]]) for i, c in enumerate(centers) if i]
    assert told == pytest.approx(expected)
    ranks = [np.mean([c > other for j, other in enumerate(centers) if j != i]) for i, c in enumerate(centers)]
    assert [t.score for t in read_trials(ledger, plan)] == pytest.approx(ranks)


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


def test_what_a_worker_needs_stands_in_the_study(tmp_path: Path, here: None, no_report: None) -> None:
    small(tmp_path, trials=1)
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path.name, create=False) as ledger:
        assert ledger.attributes()[EXECUTOR] == TRIALS
        assert StudyPlan.from_json(ledger.attributes()["plan"]).environments == ("CartPole-v1",)
        assert SETTLED == ("done", "failed", "pruned")
