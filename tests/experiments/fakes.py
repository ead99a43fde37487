"""Cheap runs for the tests of the ledger, importable from worker processes."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.engine.standings import Batch, Standing
from sb3_ppo_variants.experiments.engine.work import Job, Worker, resolve
from sb3_ppo_variants.experiments.engine.workers import Watch

Report = Callable[[int, float], None]


def coordinate_here(batch: Batch, job: Job, jobs: int, log: Path, watch: Watch) -> dict[str, Standing]:
    """Do a comparison's runs in this process: starting workers takes seconds, and test_workers.py does that."""
    batch.fill()
    watch(batch.standings())
    Worker(batch.ledger, resolve(job.execute), lambda: False, job).work()
    watch(batch.standings())
    return batch.standings()


def note(description: Mapping[str, Any], text: str) -> None:
    """One line, appended in one write, so that several processes can share the file."""
    with Path(description["log"]).open("a") as log:
        log.write(f"{text} {description['name']}\n")


def quick(description: Mapping[str, Any], report: Report) -> tuple[float, dict[str, Any]]:
    """A run of no length, or of the length that its description gives."""
    note(description, "start")
    end = time.monotonic() + description.get("seconds", 0.0)
    while time.monotonic() < end:
        time.sleep(0.02)
        report(1, 0.0)
    note(description, "end")
    return float(len(description["name"])), {"name": description["name"]}


def troubled(description: Mapping[str, Any], report: Report) -> tuple[float, dict[str, Any]]:
    """Runs named after the trouble that they make."""
    if description["name"] == "raises":
        raise RuntimeError("the reason")
    if description["name"] == "nan":
        return float("nan"), {}
    if description["name"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if description["name"] == "deaf":
        time.sleep(60)
    return quick(description, report)
