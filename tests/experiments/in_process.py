"""Runs in the test's own process: starting worker processes takes seconds, and the engine's tests do that."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from sb3_ppo_variants.experiments.engine import executors
from sb3_ppo_variants.experiments.engine.task import Outcome, Task, do_run


class InProcess:
    """An executor that does a task before ``submit`` returns.

    :param function: Does a task
    """

    jobs, log = 1, "nowhere"
    rollout_workers: int | None = None

    def __init__(self, function: Callable[[Task], Outcome] = do_run):
        self.function = function
        self.tasks: list[Task] = []

    def submit(self, task: Task) -> Future[Outcome]:
        self.tasks.append(task)
        future: Future[Outcome] = Future()
        future.set_result(self.function(task))
        return future

    def close(self) -> None:
        pass


def without_workers(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Let every command do its runs in this process.

    :return: The executor of all commands
    """
    executor = InProcess()

    def here(*_: Any, rollout_workers: int | None = None) -> InProcess:
        executor.rollout_workers = rollout_workers
        return executor

    monkeypatch.setattr(executors, "LocalExecutor", here)
    return executor
