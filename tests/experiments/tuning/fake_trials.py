"""Cheap trials of a tuning study, importable from worker processes, and studies made of them."""

import math
import time
from collections.abc import Callable
from typing import Any

from stable_baselines3 import PPO

from sb3_ppo_variants.experiments.engine.ledger import EXECUTOR, Ledger
from sb3_ppo_variants.experiments.engine.status import RequestedRuns
from sb3_ppo_variants.experiments.engine.work import Worker, WorkerConfig, executor
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run
from sb3_ppo_variants.experiments.search_space.dimensions import Integer, Real
from sb3_ppo_variants.experiments.tuning.failures import Guard
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.study import keep_plan
from sb3_ppo_variants.experiments.tuning.trial_runs import Trials
from sb3_ppo_variants.experiments.tuning.trials import descriptions

CHEAP = "tests.experiments.tuning.fake_trials:CheapTrials"
SPACE = {
    "clip_range": Real(0.05, 0.4, log=True),
    "n_epochs": Integer(3, 10),
    "learning_rate": Real(1e-4, 1e-3, log=True),
}


class Picky(PPO):
    """Takes its default learning rate and the ends of the space, which are tried before anything runs."""

    def __init__(self, *args: Any, **kwargs: Any):
        if kwargs.get("learning_rate", 3e-4) not in (3e-4, 1e-4, 1e-3):
            raise ValueError("picky")
        super().__init__(*args, **kwargs)


class CheapTrials(Trials):
    """A run takes as many milliseconds as it has timesteps, and its return is a formula."""

    def train_run(self, run: Run, guard: Guard) -> Result:
        end = time.monotonic() + run.timesteps / 1000
        while time.monotonic() < end:
            time.sleep(0.01)
            guard.report(1, 0.0)
        final = cheap_return(run)
        curve = [CurvePoint(i * run.timesteps // 10, 0.0, final * i / 10, 1.0) for i in range(1, 11)]
        return Result(final, 1, run.timesteps, 0.001, curve, {"cheap": "1"})


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


def begin(
    ledger: Ledger, plan: StudyPlan, trials: int, timeout: float | None = None, execute: str = CHEAP
) -> RequestedRuns:
    """Make a study, or extend it, as the command does."""
    ledger.keep(EXECUTOR, execute)
    keep_plan(ledger, plan, timeout)
    batch = RequestedRuns(ledger, descriptions(plan, trials))
    batch.fill()
    return batch


def work_here(ledger: Ledger, stop: Callable[[], bool] = lambda: False) -> int:
    """Do what waits in this process."""
    job = WorkerConfig(ledger.url, ledger.name, 1, 2, poll=0.1)
    worker = Worker(ledger, executor(ledger, job), stop, job)
    worker.work()
    return worker.done
