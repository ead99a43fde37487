"""Runs in the test's own process: starting worker processes takes seconds, and test_workers.py does that."""

from pathlib import Path

import pytest

from sb3_ppo_variants.experiments.engine import workers
from sb3_ppo_variants.experiments.engine.ledger import open_ledger
from sb3_ppo_variants.experiments.engine.work import Worker, WorkerConfig, executor


def work(config: WorkerConfig) -> None:
    """Do the waiting runs of a ledger."""
    with open_ledger(config.url, config.study, create=False, heartbeat=config.heartbeat, grace=config.grace) as ledger:
        Worker(ledger, executor(ledger, config), lambda: False, config).work()


def without_workers(monkeypatch: pytest.MonkeyPatch) -> list[WorkerConfig]:
    """Let every command do its runs in this process.

    :return: Grows by what each command would have given to its workers
    """
    configs: list[WorkerConfig] = []

    class CrewHere:
        """Stands in for :class:`.workers.Crew`: a started worker does all waiting runs before ``start`` returns."""

        def __init__(self, config: WorkerConfig, log: Path):
            self.config, self.names = config, list[str]()
            configs.append(config)

        def __len__(self) -> int:
            return 0

        def start(self) -> None:
            work(self.config)

        def bury(self) -> list[str]:
            return []

        def stop(self) -> None:
            pass

    monkeypatch.setattr(workers, "Crew", CrewHere)
    monkeypatch.setattr(workers, "LONGEST_LOOK_SECONDS", 0.0)
    return configs
