"""The coordinator: keeps worker processes going until the runs of a command are settled."""

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
from typing import IO

from sb3_ppo_variants.experiments.engine.ledger import claimed_by, worker_name
from sb3_ppo_variants.experiments.engine.standings import SETTLED, Batch, Standing
from sb3_ppo_variants.experiments.engine.work import Job

LOOK_SECONDS = 0.5
LOOK_SHARE = 0.02  # of one core, at most, for looking
LONGEST_LOOK_SECONDS = 3.0  # the first look imports much, which says nothing about the next
STOP_SECONDS = 5.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Watch = Callable[[Mapping[str, Standing]], None]


class Interrupted(KeyboardInterrupt):
    """A command was interrupted; what had finished is kept.

    :param done: Runs that were finished
    :param total: Runs asked for
    :param where: The storage, if it is to be named
    :param what: What they are
    """

    def __init__(self, done: int, total: int, where: str = "", what: str = "runs"):
        kept = f"; all of it is kept in {where}" if where else ""
        super().__init__(f"interrupted with {done} of {total} {what} done; the same command goes on from there{kept}")
        self.done, self.total = done, total


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """Worker processes of one command.

    They are plain subprocesses rather than ``multiprocessing`` children, so that a user's script needs no
    ``if __name__ == "__main__"``; in sessions of their own, so that Ctrl-C reaches the coordinator alone.

    :param job: What they work on
    :param log: File for what they write to stdout and stderr
    """

    def __init__(self, job: Job, log: Path):
        self.job = job if job.parent is not None else dataclasses.replace(job, parent=os.getpid())
        self.log = log
        self._processes: list[subprocess.Popen[str]] = []
        self.names: list[str] = []  # of all that ever were

    def __len__(self) -> int:
        return len(self._processes)

    def start(self) -> None:
        """Start one worker."""
        # What is importable here is importable there, and nothing in the current folder comes before it.
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
                json.dump(dataclasses.asdict(self.job), stdin)
        except BrokenPipeError:
            pass  # it is dead already, which bury() will notice

    def bury(self) -> list[str]:
        """Names of the workers that have died of anything but the end of the work since the last call."""
        ended = [p for p in self._processes if p.poll() is not None]
        self._processes = [p for p in self._processes if p not in ended]
        return [worker_name(p.pid) for p in ended if p.returncode != 0]

    def stop(self) -> None:
        """End all workers: ask first, so that they put their runs back; kill those that do not listen."""
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


def coordinate(batch: Batch, job: Job, jobs: int, log: Path, watch: Watch) -> dict[str, Standing]:
    """Keep workers going until every run of a batch is done or has failed.

    :param batch: The runs; enqueued here
    :param job: What the workers work on
    :param jobs: How many workers at most
    :param log: See :class:`Crew`
    :param watch: Called with the standings, at most twice a second
    :return: The final standings
    :raises Interrupted: on Ctrl-C, SIGTERM or SIGHUP, after the workers have been stopped
    :raises ChildProcessError: when workers die one after the other and nothing gets done
    """
    crew = Crew(job, log)
    with _signals_noted() as asked:
        try:
            batch.fill()
            return _run_crew(batch, crew, jobs, watch, asked)
        except KeyboardInterrupt as interrupt:
            crew.stop()
            done = sum(s.state in ("done", "pruned") for s in batch.standings().values())
            raise Interrupted(done, len(batch.runs)) from interrupt
        finally:
            crew.stop()
            batch.ledger.release_workers(crew.names)


def _run_crew(batch: Batch, crew: Crew, jobs: int, watch: Watch, asked: list[int]) -> dict[str, Standing]:
    deaths, settled_before = 0, 0
    while not asked:
        start = time.thread_time()
        standings = batch.standings()
        watch(standings)
        open_runs = sum(s.state not in SETTLED for s in standings.values())
        if not open_runs:
            return standings
        for name in crew.bury():
            deaths += 1
            _hand_on(batch, name)
        settled = len(standings) - open_runs
        if settled > settled_before:
            deaths, settled_before = 0, settled
        if deaths > 4 * jobs + 4:  # a run that kills its worker may do so four times before it is given up
            raise ChildProcessError(f"{deaths} worker processes died in a row; what they said is in {crew.log}")
        batch.ledger.rescue()
        batch.mend(standings)
        if any(s.state == "waiting" for s in standings.values()):
            for _ in range(min(jobs, open_runs) - len(crew)):
                crew.start()
        # The coordinator shares the cores with its workers: a look that takes longer is taken less often.
        pause = max(LOOK_SECONDS, (time.thread_time() - start) / LOOK_SHARE)
        _sleep(min(pause, LONGEST_LOOK_SECONDS), asked)
    raise KeyboardInterrupt


def _sleep(seconds: float, asked: list[int]) -> None:
    end = time.monotonic() + seconds
    while not asked and time.monotonic() < end:
        time.sleep(min(LOOK_SECONDS, seconds))


def _hand_on(batch: Batch, worker: str) -> None:
    for standing in batch.standings().values():
        if standing.trial is not None and standing.state == "running" and claimed_by(standing.trial) == worker:
            batch.ledger.redo(standing.trial)


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list: an exception out of nowhere could hit a database transaction."""
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
