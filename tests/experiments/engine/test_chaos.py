"""Kill -9 of random workers and of the coordinator, again and again, on SQLite and PostgreSQL."""

import random
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial

from sb3_ppo_variants.experiments.engine.storage import storage_url, study_names
from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, RUN, open_store, reason
from tests.experiments.engine.cheap_command import PLAN, STUDY
from tests.experiments.tuning import fake_trials
from tests.experiments.tuning.fake_trials import do_trials


def complete(storage: str, folder: Path, study: str) -> list[FrozenTrial]:
    url = storage_url(storage, folder)
    # Whoever opens a database creates its tables: wait until the command has done so.
    if not (folder / "workers.log").exists() or study not in study_names(url):
        return []
    with open_store(url, study, write=False) as store:
        return [t for t in store.trials() if t.state.name == "COMPLETE"]


class Command:
    """A command that is started again whenever it is killed."""

    def __init__(self, kind: str, folder: Path, storage: str, count: int):
        module = "tests.experiments.engine.cheap_command"
        self.arguments = [sys.executable, "-m", module, kind, str(folder), storage, str(count)]
        self.folder = folder
        self.start()

    def start(self) -> None:
        with (self.folder / "errors").open("a") as errors:
            self.process = psutil.Popen(self.arguments, stderr=errors, cwd=Path(__file__).parents[3])

    def workers(self) -> list[psutil.Process]:
        return [p for p in self.process.children(recursive=True) if "resource_tracker" not in " ".join(p.cmdline())]

    def kill(self, coordinator: bool) -> bool:
        """Kill the coordinator and see that nothing is left of it, or kill a worker; whether there was one."""
        try:
            everything = self.process.children(recursive=True)
            workers = self.workers()
            if coordinator and workers:
                self.process.kill()
                self.process.wait()
                _, left = psutil.wait_procs(everything, timeout=5)
                assert not left
                self.start()
            elif workers:
                random.choice(workers).kill()
            return bool(workers)
        except psutil.NoSuchProcess:
            return False


def disturb(command: Command, kills: int, count: int, done: str, storage: str) -> None:
    """Kill, spread over the work, until the command has ended; what has finished stays finished."""
    finished: dict[str, int] = {}
    killed = 0
    while command.process.poll() is None:
        now = {t.user_attrs[RUN]: t.number for t in complete(storage, command.folder, done)}
        assert finished.items() <= now.items()
        finished = now
        if killed < kills and len(finished) * kills >= killed * count * 0.8:
            killed += command.kill(coordinator=random.random() < 0.3)
        time.sleep(random.uniform(0.0, 0.3))
    assert command.process.wait() == 0, (command.folder / "errors").read_text()
    assert killed == kills


@pytest.fixture
def fresh(storage: str, tmp_path: Path) -> str:
    """A storage of the test's own."""
    if not storage.startswith("postgresql"):
        return storage
    psycopg = pytest.importorskip("psycopg")
    name = f"chaos_{uuid.uuid4().hex[:8]}"
    server, _, database = storage.rpartition("/")
    assert database
    with psycopg.connect(storage, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.mark.long
@pytest.mark.parametrize("kills", [3, 100])
def test_runs(fresh: str, kills: int, tmp_path: Path) -> None:
    random.seed(kills)
    kills = kills if kills < 10 or not fresh.startswith("postgresql") else 10
    count = max(12, min(2 * kills, 100))  # so many that the last kill comes before the end
    disturb(Command("runs", tmp_path, fresh, count), kills, count, STUDY, fresh)
    kept = complete(fresh, tmp_path, STUDY)
    assert Counter(t.user_attrs[DESCRIPTION]["seed"] for t in kept) == dict.fromkeys(range(count), 1)
    assert [t.value for t in sorted(kept, key=lambda t: t.user_attrs[DESCRIPTION]["seed"])] == [
        3.0 + seed for seed in range(count)
    ]
    assert not (tmp_path / "under_way").exists()


@pytest.mark.long
@pytest.mark.parametrize("kills", [10, 100])
def test_trials(fresh: str, kills: int, tmp_path: Path) -> None:
    random.seed(kills)
    if kills > 10 and fresh.startswith("postgresql"):
        pytest.skip("10 kills there")
    count = max(8, kills)
    disturb(Command("trials", tmp_path, fresh, count), kills, count, fake_trials.STUDY, fresh)
    found = do_trials(tmp_path, PLAN, count, storage=fresh)
    assert [(t.number, t.state) for t in found] == [(number, "done") for number in range(count)]
    with open_store(storage_url(fresh, tmp_path), fake_trials.STUDY, write=False) as store:
        assert {t.state.name for t in store.trials()} <= {"COMPLETE", "FAIL"}
        # What a kill between two transactions leaves is no trial.
        assert all(reason(t) is None for t in store.trials() if t.state.name == "FAIL")
