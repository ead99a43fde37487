"""Plans, trials and candidates: JSON forms, and reading trials back from a ledger."""

import dataclasses
import json
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import pytest

from sb3_ppo_variants.experiments.engine.task import Outcome, Task
from sb3_ppo_variants.experiments.runs.run import Run
from sb3_ppo_variants.experiments.runs.seeds import check_n_envs, test_seeds, tuning_seeds
from sb3_ppo_variants.experiments.search_space.dimensions import BandRatio, Choice, Complement
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from tests.experiments.in_process import InProcess
from tests.experiments.tuning.fake_trials import SPACE, cheap, cheap_plan, cheap_return, do_trials

test_seeds.__test__ = False  # type: ignore[attr-defined]  # a function of the package, not a test


def test_plan_comes_back_from_json() -> None:
    space = {
        **SPACE,
        "gae_lambda": Complement(0.8, 0.99),
        "a": Choice((None, 0.1)),
        "clip_range_high": BandRatio(0.5, 2),
    }
    plan = cheap_plan(
        space=space, fixed={"policy_kwargs": {"net_arch": [8]}}, references={"CartPole-v1": (20.0, 500.0)}
    )
    assert StudyPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert list(StudyPlan.from_json(plan.to_json()).space) == list(space)


def test_records_say_what_each_trial_was(tmp_path: Path) -> None:
    records = do_trials(tmp_path, cheap_plan(fixed={"n_steps": 64}), 4)
    assert [t.number for t in records] == [0, 1, 2, 3]
    first = records[0]
    assert first.settings == {"n_steps": 64}
    assert first.values == {"clip_range": 0.2, "n_epochs": 10, "learning_rate": 3e-4}
    for trial in records:
        runs = [Run("clip_ppo", "CartPole-v1", seed, 1, 1, trial.settings) for seed in (0, 1000)]
        assert trial.returns == {"CartPole-v1": [cheap_return(run) for run in runs]}
        assert trial.score == pytest.approx(sum(trial.returns["CartPole-v1"]) / 2)
        assert trial.settings == ({"n_steps": 64} if trial.number == 0 else {"n_steps": 64, **trial.values})
        assert trial.versions == {"cheap": "1"}
        assert trial.reason is None
        assert len(trial.curves["CartPole-v1"]) == 2
        assert json.loads(json.dumps(dataclasses.asdict(trial)))["number"] == trial.number


def test_a_trial_whose_run_is_lost_again_and_again_has_failed(tmp_path: Path) -> None:
    def dies(_task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_exception(BrokenExecutor("a worker died"))
        return future

    executor = InProcess(cheap)
    executor.submit = dies  # type: ignore[method-assign]
    (record,) = do_trials(tmp_path, cheap_plan(), 1, executor)
    assert record.state == "failed"
    assert record.reason == "lost: its process died 4 times (out of memory, or a crash): a worker died"


def test_candidate_as_json() -> None:
    candidate = Candidate("trial 7", {"n_epochs": 3}, {"n_epochs": 3}, {"A": [1.0]}, {})
    assert Candidate(**json.loads(json.dumps(dataclasses.asdict(candidate)))) == candidate
    with pytest.raises(dataclasses.FrozenInstanceError):
        candidate.name = "x"  # type: ignore[misc]


def test_tuning_and_test_seeds_never_meet_not_even_in_their_environments() -> None:
    n_envs = 1000
    check_n_envs(n_envs)
    used = [seed + i for seed in [*tuning_seeds(1000), *test_seeds(1000)] for i in range(n_envs)]
    assert len(set(used)) == len(used)
    for make, value, message in (
        (tuning_seeds, 0, "seeds=0 is out of range: it must be >= 1 and <= 1000"),
        (test_seeds, 1001, "test_seeds=1001 is out of range: it must be >= 0 and <= 1000"),
        (
            check_n_envs,
            1001,
            "n_envs=1001 is out of range: it must be >= 1 and <= 1000. Above, two runs would share a seed",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make(value)
    with pytest.raises(TypeError, match=r"seeds=1\.5 is a float: pass a whole number"):
        tuning_seeds(1.5)  # type: ignore[arg-type]
