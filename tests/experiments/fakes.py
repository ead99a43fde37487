"""Cheap runs, importable from worker processes. The environment's name says what becomes of them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.task import Outcome, Task
from sb3_ppo_variants.experiments.runs.run import CurvePoint, Result, Run


def make_run(name: str, seconds: float = 0.0, log: Path | None = None, seed: int = 0) -> Run:
    """A run for :func:`quick` or :func:`troubled`."""
    return Run("sb3:ppo", name, seed, 1, settings={"seconds": seconds, "log": None if log is None else str(log)})


def make_result(final_return: float, **changes: Any) -> Result:
    """A result with a curve of two points."""
    curve = [CurvePoint(1, 0.1, final_return / 2, 5.0), CurvePoint(2, 0.2, final_return, 7.0)]
    return Result(
        **{"final_return": final_return, "episodes": 1, "steps": 2, "seconds": 0.2, "curve": curve, "versions": {}}
        | changes
    )


def make_record(run: Run, final_return: float = 1.0) -> Record:
    """The record of a finished run."""
    return Record(run, "done", make_result(final_return))


def note(run: Run, text: str) -> None:
    """One line, appended in one write, so that several processes can share the file."""
    if run.settings["log"] is not None:
        with Path(run.settings["log"]).open("a") as log:
            log.write(f"{text} {run.environment} {run.seed} {os.getpid()} {time.monotonic()}\n")


def quick(task: Task) -> Outcome:
    """A run of no length, or of the length that its settings give."""
    note(task.run, "start")
    time.sleep(task.run.settings["seconds"])
    note(task.run, "end")
    return Outcome(make_result(float(len(task.run.environment) + task.run.seed)))


def troubled(task: Task) -> Outcome:
    """Runs named after the trouble that they make."""
    if task.run.environment == "fails":
        return Outcome(reason="env: RuntimeError: the reason")
    if task.run.environment == "dies":
        note(task.run, "start")
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(task)


class CannotStart:
    """Does tasks as if every process died at once: unpickling it ends the process, before that imports anything."""

    def __call__(self, task: Task) -> Outcome:
        raise AssertionError(f"{task} was to be done elsewhere")

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)
