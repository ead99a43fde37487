"""Cheap runs for the tests of the ledger, importable from worker processes."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sb3_ppo_variants.experiments.runs.run import OnProgress


def note(description: Mapping[str, Any], text: str) -> None:
    """One line, appended in one write, so that several processes can share the file."""
    with Path(description["log"]).open("a") as log:
        log.write(f"{text} {description['name']}\n")


def quick(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
    """A run of no length, or of the length that its description gives."""
    note(description, "start")
    end = time.monotonic() + description.get("seconds", 0.0)
    while time.monotonic() < end:
        time.sleep(0.02)
        report(1, 0.0)
    note(description, "end")
    return float(len(description["name"])), {"name": description["name"]}


def troubled(description: Mapping[str, Any], report: OnProgress) -> tuple[float, dict[str, Any]]:
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
