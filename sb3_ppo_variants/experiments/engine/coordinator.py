"""The coordinator: the command itself, which hands runs to an executor and keeps what comes back."""

import dataclasses
import hashlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from rich.console import Console

from sb3_ppo_variants.checks import plain_number
from sb3_ppo_variants.experiments.engine.executors import FutureOutcome, TaskExecutor
from sb3_ppo_variants.experiments.engine.kept_models import KeptModels
from sb3_ppo_variants.experiments.engine.progress import Display
from sb3_ppo_variants.experiments.engine.records import Record, State
from sb3_ppo_variants.experiments.engine.storage import without_password
from sb3_ppo_variants.experiments.engine.store import Store
from sb3_ppo_variants.experiments.engine.task import Outcome, Progress, Task, has_hung, hung, read_progress
from sb3_ppo_variants.experiments.runs.run import Run

MAX_RETRIES = 3  # of a run whose process has died
LOOK_SECONDS = 0.25
UNDER_WAY = "under_way"  # folder in a command's folder


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


class Work(Protocol):
    """What a command wants done."""

    def next(self) -> tuple[Run, float | None] | None:
        """The next run to start, with its timeout; ``None`` if there is none until another has ended."""

    def take(self, record: Record) -> None:
        """A run has ended, done or failed."""

    def show(self, under_way: Mapping[str, Progress | None]) -> None:
        """Show the runs under way, given by their keys, with their progress where it is known."""


def do_work(
    work: Work, executor: TaskExecutor, folder: Path, models: KeptModels | None = None, has_worked: bool = False
) -> None:
    """Do what a command wants done, as far as possible at once.

    A run whose process dies is submitted again, up to :data:`MAX_RETRIES` times.

    :param work: Says which runs to do, and takes their outcomes
    :param executor: Does them; it is closed in any case
    :param folder: The command's folder, in which runs under way keep their checkpoints
    :param models: Says where runs save their models; ``None``: models are discarded
    :param has_worked: Whether some of the work has been done before
    :raises KeyboardInterrupt: on Ctrl-C, SIGTERM or SIGHUP
    :raises ChildProcessError: if processes keep dying and it is not a single environment that kills them
    """
    with closing(UnderWay(executor, folder, models, has_worked)) as under_way, _signals_noted(under_way.ended) as asked:
        while not asked:
            while len(under_way) < executor.jobs and (wanted := work.next()) is not None:
                under_way.start(*wanted)
            if not len(under_way):
                return
            work.show(under_way.progress())
            for record in under_way.wait():
                work.take(record)
        raise KeyboardInterrupt


@dataclasses.dataclass
class _Attempt:
    task: Task
    lost: int = 0  # how often its process has died


class UnderWay:
    """The runs that an executor is doing.

    :param executor: The executor
    :param folder: See :func:`do_work`
    :param models: See :func:`do_work`
    :param has_worked: See :func:`do_work`
    """

    def __init__(
        self, executor: TaskExecutor, folder: Path, models: KeptModels | None = None, has_worked: bool = False
    ):
        self.executor, self.models, self._has_worked = executor, models, has_worked
        self.folder = folder.resolve() / UNDER_WAY
        #: Set when a run has ended, to end :meth:`wait`.
        self.ended = threading.Event()
        self._attempts: dict[FutureOutcome, _Attempt] = {}
        self._lost_in_a_row: list[str] = []  # their environments

    def __len__(self) -> int:
        return len(self._attempts)

    def start(self, run: Run, timeout: float | None) -> None:
        """Start a run.

        :param run: The run
        :param timeout: Seconds after which it fails
        """
        folder = self.folder / hashlib.sha256(run.key().encode()).hexdigest()[:16]
        model = None if self.models is None else str(self.models.folder_of(run).resolve())
        # Tasks are passed on as JSON, which knows no numbers of numpy's.
        workers = plain_number(self.executor.rollout_workers)
        self._submit(_Attempt(Task(run, str(folder), plain_number(timeout), model, workers)))

    def progress(self) -> dict[str, Progress | None]:
        """Key → progress of each run, where it is known."""
        return {a.task.run.key(): read_progress(Path(a.task.folder)) for a in self._attempts.values()}

    def wait(self) -> Iterator[Record]:
        """Wait a moment for runs to end, and start those again whose processes have died.

        :return: The runs that have ended, done or failed. The checkpoint of each is removed once the next is asked for:
            whoever takes the record has kept it by then
        """
        self.ended.wait(LOOK_SECONDS)
        self.ended.clear()
        for future in [future for future in self._attempts if future.done()]:
            attempt = self._attempts.pop(future)
            if (record := self._end(future, attempt)) is not None:
                yield record
                shutil.rmtree(attempt.task.folder, ignore_errors=True)

    def close(self) -> None:
        """End what is still under way. Checkpoints stay for the next command."""
        self.executor.close()
        for folder in self.folder.glob("*"):
            if not list(folder.glob("*.checkpoint")):
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _submit(self, attempt: _Attempt) -> None:
        Path(attempt.task.folder).mkdir(parents=True, exist_ok=True)
        if attempt.task.model_folder is not None:
            Path(attempt.task.model_folder).parent.mkdir(exist_ok=True)
        future = self.executor.submit(attempt.task)
        self._attempts[future] = attempt
        if hasattr(future, "add_done_callback"):  # submitit's jobs have none
            future.add_done_callback(lambda _: self.ended.set())

    def _end(self, future: FutureOutcome, attempt: _Attempt) -> Record | None:
        try:
            outcome: Outcome = future.result()
            self._lost_in_a_row, self._has_worked = [], True
        except Exception as error:
            found = self._lost(attempt, error)
            if found is None:
                self._submit(attempt)
                return None
            outcome = found
        state: State = "failed" if outcome.result is None else "done"
        return Record(attempt.task.run, state, outcome.result, outcome.reason)

    def _lost(self, attempt: _Attempt, error: Exception) -> Outcome | None:
        """The outcome of a run whose process has died; ``None`` if it is to be started again."""
        if has_hung(Path(attempt.task.folder)):
            self._lost_in_a_row = []  # its process did start, and was ended on purpose
            return hung(attempt.task)
        self._lost_in_a_row.append(attempt.task.run.environment)
        if self._is_hopeless():
            raise ChildProcessError(
                f"{len(self._lost_in_a_row)} runs died in a row; see {self.executor.log}"
            ) from error
        attempt.lost += 1
        if attempt.lost <= MAX_RETRIES:
            return None
        # Executors put the remote traceback or advice after the first line.
        why = str(error).strip().partition("\n")[0]
        return Outcome(reason=f"lost: its process died {attempt.lost} times (out of memory, or a crash): {why}")

    def _is_hopeless(self) -> bool:
        """Whether it looks as if no process could be started, and not as if one environment killed its processes."""
        died, most = len(self._lost_in_a_row), 4 * self.executor.jobs + 4  # a run may kill its process four times
        is_one_environments = self._has_worked and len(set(self._lost_in_a_row)) == 1
        return died > (4 * most if is_one_environments else most)


@contextmanager
def _signals_noted(wake: threading.Event) -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list: an exception could interrupt a database transaction."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return

    def note(received: int, _frame: object) -> None:
        asked.append(received)
        wake.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- A set of runs ----


class RunsToDo:
    """The runs of a comparison or the like: those that are not done yet, in their order; last those that have failed.

    :param runs: All of them
    :param store: Keeps them
    :param display: Shows them
    :param timeout: Seconds after which a run fails; ``None`` for any time
    :param models: The models that are kept; ``None``: none
    """

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        display: Display,
        timeout: float | None = None,
        models: KeptModels | None = None,
    ):
        self.store, self.display, self.timeout, self.models = store, display, timeout, models
        self.records = {record.run.key(): record for record in store.records(runs)}
        # Those that failed before come last, lest an environment that kills its process stops all others.
        to_do = sorted((r for r in self.records.values() if r.state != "done"), key=lambda r: r.state == "failed")
        self._next = iter([record.run for record in to_do])
        self._ended: set[str] = set()
        display.begin(self.done)

    @property
    def done(self) -> int:
        """How many are done."""
        return sum(record.state == "done" for record in self.records.values())

    @property
    def has_worked(self) -> bool:
        """Whether one of them has been done here."""
        return any(r.state == "done" and r.imported_from is None for r in self.records.values())

    def next(self) -> tuple[Run, float | None] | None:
        run = next(self._next, None)
        return None if run is None else (run, self.timeout)

    def take(self, record: Record) -> None:
        self.store.add(record)
        self.records[record.run.key()] = record
        self._ended.add(record.run.key())
        if self.models is not None:
            # Not the failed runs of an earlier command that are being tried again.
            self.models.prune(r for key, r in self.records.items() if r.state == "done" or key in self._ended)
        self.display.ended(record)

    def show(self, under_way: Mapping[str, Progress | None]) -> None:
        self.display(under_way)


def do_runs(
    runs: Iterable[Run],
    store: Store,
    executor: Callable[[], TaskExecutor],
    folder: Path,
    console: Console | None = None,
    labels: Mapping[str, str] | None = None,
    what: str = "runs",
    timeout: float | None = None,
    models: KeptModels | None = None,
) -> list[Record]:
    """Do the runs that are not done yet. Runs that failed before are tried again.

    :param runs: The runs, in the order in which they are started; those that have failed before come last
    :param store: Keeps them
    :param executor: Makes what does them; not called if nothing is left to do
    :param folder: The command's folder
    :param console: Where to show progress; ``None`` shows nothing
    :param labels: Key → name of the run in the progress display
    :param what: What the runs are, for the message of an interruption
    :param timeout: Seconds after which a run fails; ``None`` for any time
    :param models: Says which models are kept and where; ``None``: none
    :return: One record per run, done or failed
    :raises ValueError: if the store is that of a tuning study
    :raises Interrupted: on Ctrl-C; finished runs are kept
    """
    wanted = list({run.key(): run for run in runs}.values())
    store.check_is_of_runs()
    display = Display(wanted, console or Console(quiet=True), labels)
    work = RunsToDo(wanted, store, display, timeout, models)
    try:
        if work.done < len(wanted):
            with display.progress:
                do_work(work, executor(), folder, models, has_worked=work.has_worked)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(work.done, len(wanted), without_password(store.url), what) from interrupt
    finally:
        if models is not None:
            models.finish(work.records.values())
    return list(work.records.values())
