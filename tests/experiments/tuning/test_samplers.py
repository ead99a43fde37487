"""Samplers: a resume proposes nothing twice, and a study repeats."""

from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sb3_ppo_variants.experiments.tuning.samplers import SAMPLERS, TrialSampler, check_sampler
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord
from tests.experiments.tuning.fake_trials import SPACE, cheap_plan, do_trials
from tests.forms import long


def proposals(records: Sequence[TrialRecord]) -> list[tuple[float, ...]]:
    return [tuple(t.values.values()) for t in records]


@pytest.mark.parametrize("sampler", ["tpe", *(long(name) for name in SAMPLERS if name != "tpe")])
def test_three_resumes_repeat_no_suggestion_and_change_none(tmp_path: Path, sampler: str) -> None:
    plan = cheap_plan(sampler=sampler)
    for trials in (5, 11, 13):  # the first ten are drawn at random
        found = proposals(do_trials(tmp_path / "resumed", plan, trials))
        assert len(set(found)) == len(found) == trials
    assert found == proposals(do_trials(tmp_path / "alone", plan, 13))


def test_the_seed_of_the_study_changes_what_is_drawn(tmp_path: Path) -> None:
    found = [proposals(do_trials(tmp_path / str(seed), cheap_plan(sampler_seed=seed), 4)) for seed in (0, 1)]
    assert found[0][0] == found[1][0] == (0.2, 10, 3e-4)  # trial 0 is the defaults
    assert not set(found[0][1:]) & set(found[1][1:])


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_trial_without_parameters_does_not_make_the_sampler_forget_the_space(sampler: str) -> None:
    """Old studies have trials that were pruned before anything was proposed; Optuna's inferred space would be empty."""
    ours = TrialSampler(sampler, 0, SPACE)
    study = optuna.create_study(sampler=ours)
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    assert list(ours.infer_relative_search_space(study, study.trials[0])) == list(SPACE)
    assert not optuna.samplers.TPESampler().infer_relative_search_space(study, study.trials[0])


def test_unknown_sampler() -> None:
    with pytest.raises(ValueError, match=r"one of tpe, random, gp, got 'tp'\. Did you mean 'tpe'"):
        check_sampler("tp")
