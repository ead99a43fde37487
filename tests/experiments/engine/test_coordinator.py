"""The coordinator with real worker processes: interrupted, and with runs that fail, die, raise or hang."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from sb3_ppo_variants.experiments.engine import coordinator
from sb3_ppo_variants.experiments.engine.coordinator import Interrupted, RunsToDo, _signals_noted, do_runs, do_work
from sb3_ppo_variants.experiments.engine.executors import LocalExecutor
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.records import Record
from sb3_ppo_variants.experiments.engine.storage import storage_url
from sb3_ppo_variants.experiments.engine.store import Store, open_store
from sb3_ppo_variants.experiments.engine.task import Outcome, Task, do_run
from sb3_ppo_variants.experiments.runs.run import Run, train_run
from tests.experiments import fakes
from tests.experiments.fakes import make_run
from tests.experiments.in_process import InProcess


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process outlives a command."""
    before = psutil.Process().children(recursive=True)  # of other tests
    yield
    new = [p for p in psutil.Process().children(recursive=True) if p not in before]
    _, left = psutil.wait_procs(new, timeout=5)
    # loky's resource tracker serves the whole process.
    assert not [p for p in left if "resource_tracker" not in " ".join(p.cmdline())]


def do(folder: Path, runs: list[Run], function: Callable[[Task], Outcome] = fakes.quick, jobs: int = 2) -> list[Record]:
    with open_store(storage_url(None, folder), "study") as store:
        return do_runs(runs, store, lambda: LocalExecutor(jobs, folder / "workers.log", function), folder)


@pytest.mark.long
def test_each_run_is_done_once_by_two_processes_and_never_again(tmp_path: Path) -> None:
    runs = [make_run("run", log=tmp_path / "log", seed=seed) for seed in range(30)]
    records = do(tmp_path, runs)
    assert [r.run for r in records] == runs
    assert [r.result and r.result.final_return for r in records] == [3.0 + seed for seed in range(30)]
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(int(seed) for what, _, seed, *_ in lines if what == "end") == list(range(30))
    assert len({pid for *_, pid, _ in lines}) <= 2
    assert do(tmp_path, runs + runs[:1]) == records
    assert len((tmp_path / "log").read_text().splitlines()) == len(lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.db", "log", "workers.log"]


def test_a_process_that_dies_costs_its_own_run_alone(tmp_path: Path) -> None:
    names = ["a", "dies", "fails", "bb", "ccc"]
    records = do(tmp_path, [make_run(name, 0.05, tmp_path / "log") for name in names], fakes.troubled)
    found = {r.run.environment: r.reason or "done" for r in records}
    assert found["dies"].startswith("lost: its process died 4 times (out of memory, or a crash): ")
    assert found["fails"] == "env: RuntimeError: the reason"
    starts = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines() if line.startswith("start")]
    assert {name: starts.count(name) for name in set(starts)} == {"dies": 4, "a": 1, "bb": 1, "ccc": 1}


def test_what_failed_is_tried_again_by_the_next_command_and_nothing_else(tmp_path: Path) -> None:
    runs, executor = [make_run(name) for name in ("a", "fails", "bb")], InProcess(fakes.troubled)
    for expected in (3, 4):
        with open_store(storage_url(None, tmp_path), "study") as store:
            records = do_runs(runs, store, lambda: executor, tmp_path)
        assert [r.state for r in records] == ["done", "failed", "done"]
        assert len(executor.tasks) == expected


class Kills(InProcess):
    """An executor whose processes die of some environments, each time."""

    def __init__(self, environments: set[str]):
        super().__init__(fakes.quick)
        self.environments = environments

    def submit(self, task: Task) -> Future[Outcome]:
        if task.run.environment not in self.environments:
            return super().submit(task)
        self.tasks.append(task)
        future: Future[Outcome] = Future()
        future.set_exception(BrokenProcessPool("it died"))
        return future


def test_a_machine_on_which_processes_no_longer_start_ends_the_command(tmp_path: Path) -> None:
    fine = make_run("fine")
    several = [make_run(name, seed=seed) for seed in range(9) for name in ("a", "b")]
    single = [make_run("a", seed=seed) for seed in range(40)]
    for runs, died in ((several, 9), (single, 33)):
        executor = Kills({"a", "b"})
        dying = pytest.raises(ChildProcessError, match=f"{died} runs died in a row")
        with open_store(storage_url(None, tmp_path / str(died)), "study") as store, dying:
            do_runs([fine, *runs], store, lambda executor=executor: executor, tmp_path)
        assert len(executor.tasks) == 1 + died


def test_an_environment_that_always_kills_its_process_stops_no_other(tmp_path: Path) -> None:
    runs = [make_run(name, seed=seed) for seed in range(5) for name in ("fine", "dies", "good")]
    dying = [run for run in runs if run.environment == "dies"]
    with open_store(storage_url(None, tmp_path), "study") as store:
        for asked in (runs, runs, dying + runs[:1]):  # the second and the third time only the failed are left
            records = do_runs(asked, store, lambda: Kills({"dies"}), tmp_path)
            assert {r.state for r in records if r.run.environment == "dies"} == {"failed"}
            assert {r.state for r in records if r.run.environment != "dies"} == {"done"}


def test_what_has_failed_before_comes_last(tmp_path: Path) -> None:
    runs, executor = [make_run(name) for name in ("fails", "a")], InProcess(fakes.troubled)
    with open_store(storage_url(None, tmp_path), "study") as store:
        do_runs(runs[:1], store, lambda: executor, tmp_path)
        do_runs(runs, store, lambda: executor, tmp_path)
    assert [task.run.environment for task in executor.tasks] == ["fails", "a", "fails"]


def test_processes_that_cannot_start_end_the_command(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"9 runs died in a row; see .*workers\.log"):
        do(tmp_path, [make_run(name) for name in "abcdef"], fakes.CannotStart(), jobs=1)


def test_a_run_that_cannot_be_kept_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_checkpoint(task: Task) -> Outcome:
        (Path(task.folder) / "1.checkpoint").write_text("")
        return fakes.quick(task)

    def full(store: Store, record: Record) -> None:
        raise OSError("disk full")

    def folders() -> int:
        return len(list(tmp_path.glob("under_way/*/1.checkpoint")))

    def do_here() -> list[Record]:
        with open_store(storage_url(None, tmp_path), "study") as store:
            return do_runs([make_run("a")], store, lambda: InProcess(with_checkpoint), tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", full)
        with pytest.raises(OSError, match="disk full"):
            do_here()
    assert folders() == 1
    assert [r.state for r in do_here()] == ["done"]
    assert folders() == 0


class Hangs:
    """An executor whose every process is ended because its run hung."""

    jobs, log, rollout_workers = 1, "nowhere", None

    def submit(self, task: Task) -> Future[Outcome]:
        (Path(task.folder) / "hung").write_text("Timeout!")
        future: Future[Outcome] = Future()
        future.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
        return future

    def close(self) -> None:
        pass


def test_runs_that_hang_do_not_end_the_command(tmp_path: Path) -> None:
    class Timed(RunsToDo):
        def next(self) -> tuple[Run, float | None] | None:
            wanted = super().next()
            return wanted and (wanted[0], 1.0)

    runs = [make_run(f"run{i}") for i in range(10)]  # more than may die in a row
    with open_store(storage_url(None, tmp_path), "study") as store:
        work = Timed(runs, store, Display(runs, Console(quiet=True)))
        do_work(work, Hangs(), tmp_path)
    assert {str(r.reason).partition(":")[0] for r in work.records.values()} == {"timeout"}


class InThreads:
    """An executor whose runs take their time beside this process's main thread."""

    jobs, log, rollout_workers = 2, "nowhere", None

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)

    def submit(self, task: Task) -> Future[Outcome]:
        return self.pool.submit(fakes.quick, task)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_keeps_what_has_finished(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    if before is signal.SIG_IGN and number == signal.SIGHUP:
        pytest.skip("the tests themselves are run under nohup")
    in_processes = number == signal.SIGINT
    executor = LocalExecutor(2, tmp_path / "workers.log", fakes.quick) if in_processes else InThreads()
    runs = [make_run("a"), make_run("bb"), make_run("long", 60.0 if in_processes else 3.0)]
    with open_store(storage_url(None, tmp_path), "study") as store:

        class Interrupting(RunsToDo):
            def take(self, record: Record) -> None:
                super().take(record)
                if self.done == 2:
                    os.kill(os.getpid(), number)

        work = Interrupting(runs, store, Display(runs, Console(quiet=True)))
        with pytest.raises(KeyboardInterrupt):
            do_work(work, executor, tmp_path)
        assert [r.state for r in store.records(runs)] == ["done", "done", "missing"]
        assert [t.state.name for t in store.trials()] == ["COMPLETE", "COMPLETE"]
    assert signal.getsignal(number) is before
    assert not (tmp_path / "under_way").exists()


def test_what_nohup_has_had_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals_noted(threading.Event()) as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_message_of_an_interruption_says_what_is_kept_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(coordinator, "do_work", interrupted)
    message = r"interrupted with 0 of 1 runs done; rerun the command to resume; finished runs are kept in sqlite://.*db"
    with pytest.raises(Interrupted, match=message):
        do(tmp_path, [make_run("a")])


@pytest.mark.long
def test_a_run_that_hangs_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("sb3:ppo", "tests.experiments.mine:Hangs", 0, 128, settings={"n_steps": 64})

    class Timed(RunsToDo):
        def next(self) -> tuple[Run, float | None] | None:
            wanted = super().next()
            return wanted and (wanted[0], 1.0)

    with open_store(storage_url(None, tmp_path), "study") as store:
        work = Timed([run], store, Display([run], Console(quiet=True)))
        do_work(work, LocalExecutor(1, tmp_path / "workers.log", do_run), tmp_path)
    (record,) = work.records.values()
    assert str(record.reason).startswith(
        "timeout: the run hung: it was to end after 1 s and did not come back for 10 s"
    )


def test_a_comparisons_runs_equal_those_in_this_process(tmp_path: Path) -> None:
    runs = [Run("clip_ppo", "CartPole-v1", seed, 256, settings={"n_steps": 64}) for seed in (0, 1)]
    for record in do(tmp_path, runs, do_run, jobs=1):
        alone = train_run(record.run)
        assert record.result is not None
        assert (record.result.final_return, record.result.episodes) == (alone.final_return, alone.episodes)
        assert [p[::2] for p in record.result.curve] == [p[::2] for p in alone.curve]
        assert record.result.versions == alone.versions


def test_labels_and_time_left_are_shown(tmp_path: Path) -> None:
    runs = [make_run("a", seed=seed) for seed in range(3)]
    with open_store(storage_url(None, tmp_path), "study") as store:
        console = Console(record=True, width=100, force_terminal=False, quiet=False)
        do_runs(
            runs, store, lambda: InProcess(fakes.quick), tmp_path, console, {r.key(): f"run {r.seed}" for r in runs}
        )
    first, _, third = console.export_text().splitlines()
    assert first.startswith("[1/3] run 0: return 1.0, 10 steps/s, about ")
    assert first.endswith("left")
    assert third == "[3/3] run 2: return 3.0, 10 steps/s"
