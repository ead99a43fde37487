"""Samplers: nothing is proposed twice by a resume or by a second worker, and one worker's study repeats."""

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import TrialState

from sb3_ppo_variants.experiments.engine.ledger import Ledger
from sb3_ppo_variants.experiments.tuning.samplers import SAMPLERS, TrialSampler, check_sampler
from tests.experiments.tuning.fake_trials import SPACE, begin, cheap_plan, work_here

MakeLedger = Callable[..., Ledger]


def proposals(ledger: Ledger) -> list[tuple[float, ...]]:
    return [tuple(t.params.values()) for t in ledger.trials(TrialState.COMPLETE)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_three_resumes_repeat_no_suggestion(make_ledger: MakeLedger, sampler: str) -> None:
    plan = cheap_plan(sampler=sampler)
    for trials in (5, 10, 15):  # each time a new worker, as after an interruption
        ledger = make_ledger()
        begin(ledger, plan, trials)
        assert work_here(ledger) == 5
    found = proposals(make_ledger())
    assert len(found) == len(set(found)) == 15


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_with_one_worker_repeats_interrupted_or_not(
    make_ledger: MakeLedger, sampler: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan, studies = cheap_plan(sampler=sampler), []
    for stops in ([14], [3, 8, 14]):
        storage = str(tmp_path_factory.mktemp("study") / "ledger.db")
        for trials in stops:
            ledger = make_ledger(storage)
            begin(ledger, plan, trials)
            work_here(ledger)
        studies.append(proposals(make_ledger(storage)))
    assert studies[0] == studies[1]
    assert len(studies[0]) == 14


def test_two_workers_do_not_draw_the_same(make_ledger: MakeLedger) -> None:
    """Both make their samplers with the study's seed: only the trial's number tells them apart."""
    plan = cheap_plan(sampler="random", space={"clip_range": SPACE["clip_range"]})
    begin(make_ledger(), plan, 9)
    workers = [make_ledger() for _ in range(2)]
    for turn in range(9):
        ledger = workers[turn % 2]
        work_here(ledger, lambda ledger=ledger, turn=turn: len(proposals(ledger)) > turn)  # type: ignore[misc]
    found = proposals(workers[0])
    assert len(set(found)) == len(found) == 9


def test_the_seed_of_the_study_changes_what_is_drawn(
    make_ledger: MakeLedger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = []
    for seed in (0, 1):
        ledger = make_ledger(str(tmp_path_factory.mktemp("study") / "ledger.db"))
        begin(ledger, cheap_plan(sampler_seed=seed), 4)
        work_here(ledger)
        found.append(proposals(ledger))
    assert found[0][0] == found[1][0]  # trial 0 is the defaults
    assert not set(found[0][1:]) & set(found[1][1:])


def test_trial_0_is_the_defaults(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    begin(ledger, cheap_plan(), 1)
    work_here(ledger)
    assert ledger.trials()[0].params == {"clip_range": 0.2, "n_epochs": 10, "learning_rate": 3e-4}


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_trial_without_parameters_does_not_make_the_sampler_forget_the_space(sampler: str) -> None:
    """A surplus (see work.py) is pruned before anything is proposed; Optuna's inferred space would then be empty."""
    ours = TrialSampler(sampler, 0, SPACE)
    study = optuna.create_study(sampler=ours)
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    assert list(ours.infer_relative_search_space(study, study.trials[0])) == list(SPACE)
    assert not optuna.samplers.TPESampler().infer_relative_search_space(study, study.trials[0])


def test_unknown_sampler() -> None:
    with pytest.raises(ValueError, match=r"one of tpe, random, gp, got 'tp'\. Did you mean 'tpe'"):
        check_sampler("tp")
