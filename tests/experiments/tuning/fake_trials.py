"""Cheap runs of tuning studies, importable from worker processes, and studies made of them."""

import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3 import PPO

from sb3_ppo_variants.experiments.engine.coordinator import do_work
from sb3_ppo_variants.experiments.engine.executors import TaskExecutor
from sb3_ppo_variants.experiments.engine.storage import RUNS_SUFFIX, storage_url
from sb3_ppo_variants.experiments.engine.store import PLAN, open_store
from sb3_ppo_variants.experiments.engine.task import Outcome, Task
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.experiments.search_space.dimensions import Integer, Real
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.progress import StudyDisplay
from sb3_ppo_variants.experiments.tuning.trial_runs import TrialsToDo
from sb3_ppo_variants.experiments.tuning.trials import TrialRecord, read_trials
from tests.experiments.in_process import InProcess

SPACE = {
    "clip_range": Real(0.05, 0.4, log=True),
    "n_epochs": Integer(3, 10),
    "learning_rate": Real(1e-4, 1e-3, log=True),
}
STUDY = "study"


class Picky(PPO):
    """Takes its default learning rate and the ends of the space, which are tried before anything runs."""

    def __init__(self, *args: Any, **kwargs: Any):
        if kwargs.get("learning_rate", 3e-4) not in (3e-4, 1e-4, 1e-3):
            raise ValueError("picky")
        super().__init__(*args, **kwargs)


def cheap(task: Task) -> Outcome:
    """A run that takes as many milliseconds as it has timesteps, and whose return is a formula."""
    time.sleep(task.run.timesteps / 1000)
    final, steps = cheap_return(task.run), task.run.timesteps
    curve = [CurvePoint(i * steps // 10, 0.0, final * i / 10, 1.0) for i in range(1, 11)]
    return Outcome(Result(final, 1, steps, steps / 1000, curve, {"cheap": "1"}))


def cheap_return(run: Run) -> float:
    """Best at clip_range 0.1 and 6 epochs; the seed moves it a little."""
    settings = run.settings
    away = math.log(settings.get("clip_range", 0.2) / 0.1) ** 2 + (settings.get("n_epochs", 10) - 6) ** 2 / 16
    return 100.0 - 10.0 * away + (run.seed // 1000) % 7


def cheap_plan(**changes: Any) -> StudyPlan:
    """A plan of cheap trials."""
    plan: dict[str, Any] = {
        "algorithm": "clip_ppo",
        "environments": ("CartPole-v1",),
        "timesteps": 1,
        "n_envs": 1,
        "seeds": 2,
        "space": SPACE,
        "fixed": {},
        "sampler": "random",
        "sampler_seed": 0,
        "aggregation": "return",
        "pruning": False,
        "references": {},
    }
    return StudyPlan(**{**plan, **changes})


def do_trials(
    folder: Path,
    plan: StudyPlan,
    trials: int,
    executor: TaskExecutor | None = None,
    timeout: float | None = None,
    storage: str | None = None,
) -> list[TrialRecord]:
    """Do the trials of a study that are not settled yet, as the command does.

    :return: All settled trials
    """
    url = storage_url(storage, folder)
    with open_store(url, STUDY) as store, open_store(url, STUDY + RUNS_SUFFIX) as runs:
        store.keep(PLAN, plan.to_json())
        work = TrialsToDo(store, runs, plan, trials, timeout, StudyDisplay(trials, Console(quiet=True)))
        if work.is_to_do:
            do_work(work, executor or InProcess(cheap), folder)
        return read_trials(store, plan)
