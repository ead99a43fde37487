"""Worker processes, and the loop that keeps them going until the runs of a command are settled."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sb3_ppo_variants.experiments.engine.ledger import claimed_by, worker_name
from sb3_ppo_variants.experiments.engine.status import SETTLED, RequestedRuns, RunStatus
from sb3_ppo_variants.experiments.engine.work import WorkerConfig

LOOK_SECONDS = 0.5
LOOK_SHARE = 0.02  # largest share of one core spent on looking at the ledger
LONGEST_LOOK_SECONDS = 3.0  # the first look is slow because it imports modules
STOP_SECONDS = 5.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Watch = Callable[[Mapping[str, RunStatus]], None]


class Interrupted(KeyboardInterrupt):
    """A command was interrupted; finished runs are kept.

    :param done: Number of finished runs
    :param total: Number of requested runs
    :param where: The storage to name in the message
    :param what: What was counted
    """

    def __init__(self, done: int, total: int, where: str = "", what: str = "runs"):
        kept = f"; finished {what} are kept in {where}" if where else ""
        super().__init__(f"interrupted with {done} of {total} {what} done; rerun the command to resume{kept}")
        self.done, self.total = done, total


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(jobs: int | None) -> int:
    """How many workers to start.

    :param jobs: How many the user asked for; ``None`` for one per available core
    """
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be a positive integer, got {jobs!r}; leave it out to use every available core")
    return jobs or available_cores()


class Crew:
    """Worker processes of one command.

    They are plain subprocesses, not ``multiprocessing`` children: a user's script needs no
    ``if __name__ == "__main__"``. Each has its own session: Ctrl-C reaches only the coordinator.

    :param config: What they work on
    :param log: File for their stdout and stderr
    """

    def __init__(self, config: WorkerConfig, log: Path):
        self.config = config if config.parent is not None else dataclasses.replace(config, parent=os.getpid())
        self.log = log
        self._processes: list[subprocess.Popen[str]] = []
        self.names: list[str] = []  # of all workers ever started

    def __len__(self) -> int:
        return len(self._processes)

    def start(self) -> None:
        """Start one worker."""
        # The worker imports from the same places as this process, and never from its current folder first.
        start = (
            "import sys; sys.path[:] = sys.argv[1:]; from sb3_ppo_variants.experiments.engine.work import main; main()"
        )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", start, *(path for path in sys.path if path)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
                start_new_session=True,
                text=True,
            )
        self._processes.append(process)
        self.names.append(worker_name(process.pid))
        stdin: IO[str] = process.stdin  # type: ignore[assignment]
        try:
            with stdin:
                json.dump(dataclasses.asdict(self.config), stdin)
        except BrokenPipeError:
            pass  # it has died already; bury() will find it

    def bury(self) -> list[str]:
        """Remove the workers that have ended since the last call.

        :return: Names of those that died before their work was done
        """
        ended = [p for p in self._processes if p.poll() is not None]
        self._processes = [p for p in self._processes if p not in ended]
        return [worker_name(p.pid) for p in ended if p.returncode != 0]

    def stop(self) -> None:
        """End all workers: terminate them, so that they put their runs back, then kill those that do not react."""
        for process in self._processes:
            process.terminate()
        end = time.monotonic() + STOP_SECONDS
        try:
            for process in self._processes:
                process.wait(max(0.0, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()


def coordinate(requested: RequestedRuns, jobs: int, log: Path, watch: Watch, **options: Any) -> dict[str, RunStatus]:
    """Enqueue the runs and keep workers going until each is done or has failed.

    :param requested: The runs
    :param jobs: Largest number of workers
    :param log: See :class:`Crew`
    :param watch: Called with the statuses, at most twice a second
    :param options: Further fields of :class:`.work.WorkerConfig`
    :return: The final statuses
    :raises Interrupted: on Ctrl-C, SIGTERM or SIGHUP, after the workers have been stopped
    :raises ChildProcessError: if workers keep dying and no run gets done
    """
    ledger = requested.ledger
    config = WorkerConfig(
        ledger.url,
        ledger.name,
        ledger.heartbeat,
        ledger.grace,
        wanted=tuple(requested.runs),
        first=requested.first,
        **options,
    )
    crew = Crew(config, log)
    with _signals_noted() as asked:
        try:
            requested.fill()
            return _run_crew(requested, crew, jobs, watch, asked)
        except KeyboardInterrupt as interrupt:
            crew.stop()
            done = sum(s.state in ("done", "pruned") for s in requested.statuses().values())
            raise Interrupted(done, len(requested.runs)) from interrupt
        finally:
            crew.stop()
            requested.ledger.release_workers(crew.names)


def _run_crew(requested: RequestedRuns, crew: Crew, jobs: int, watch: Watch, asked: list[int]) -> dict[str, RunStatus]:
    deaths, settled_before = 0, 0
    while not asked:
        start = time.thread_time()
        statuses = requested.statuses()
        watch(statuses)
        open_runs = sum(s.state not in SETTLED for s in statuses.values())
        if not open_runs:
            return statuses
        for name in crew.bury():
            deaths += 1
            _hand_on(requested, name)
        settled = len(statuses) - open_runs
        if settled > settled_before:
            deaths, settled_before = 0, settled
        if deaths > 4 * jobs + 4:  # a run may kill its worker four times before it is given up
            raise ChildProcessError(f"{deaths} worker processes died in a row; see their output in {crew.log}")
        requested.ledger.rescue()
        requested.mend(statuses)
        if any(s.state == "waiting" for s in statuses.values()):
            for _ in range(min(jobs, open_runs) - len(crew)):
                crew.start()
        # The coordinator shares the cores with its workers: the longer a look takes, the fewer there are.
        pause = max(LOOK_SECONDS, (time.thread_time() - start) / LOOK_SHARE)
        _sleep(min(pause, LONGEST_LOOK_SECONDS), asked)
    raise KeyboardInterrupt


def _sleep(seconds: float, asked: list[int]) -> None:
    end = time.monotonic() + seconds
    while not asked and time.monotonic() < end:
        time.sleep(min(LOOK_SECONDS, seconds))


def _hand_on(requested: RequestedRuns, worker: str) -> None:
    for status in requested.statuses().values():
        if status.trial is not None and status.state == "running" and claimed_by(status.trial) == worker:
            requested.ledger.redo(status.trial)


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list: an exception could interrupt a database transaction."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, lambda received, _frame: asked.append(received)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
