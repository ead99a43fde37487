"""One run as a task for an executor: a pure function from a run to its outcome, in whatever process does it.

The numbers depend on the run alone (see :mod:`.runs.run`). While a run is under way it writes its progress and, now and
then, a checkpoint into a folder, from which it is resumed if its process dies.
"""

import contextlib
import dataclasses
import faulthandler
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants.experiments.runs.folders import save_run
from sb3_ppo_variants.experiments.runs.guard import Guard
from sb3_ppo_variants.experiments.runs.provenance import versions
from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.experiments.runs.run import Result, Run, check_score, fit
from sb3_ppo_variants.files import write_text
from sb3_ppo_variants.resume import ResumableCheckpointCallback
from sb3_ppo_variants.resume.environments import VecEnvState
from sb3_ppo_variants.resume.files import checkpoint_paths, newest_checkpoint
from sb3_ppo_variants.resume.identity import differences, surroundings

STUCK_SECONDS = 10.0  # after the timeout; until then a run that steps its environment ends itself
CHECKPOINT_SECONDS = 20.0
PROGRESS_SECONDS = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
PROGRESS, HUNG, MADE_WITH = "progress", "hung", "made_with.json"  # files in a task's folder


@dataclasses.dataclass(frozen=True)
class Task:
    """A run to be done.

    :param run: The run
    :param folder: For its progress and its checkpoints. A worker that has no such folder, because it has other disks,
        does without
    :param timeout: Seconds after which the run fails; ``None`` for any time
    :param model_folder: The run folder in which the model is saved, if the worker has the folder above it; ``None``:
        the model is discarded
    :param rollout_workers: Number of workers of a run that has some; like the executor, it does not change the result
    """

    run: Run
    folder: str
    timeout: float | None = None
    model_folder: str | None = None
    rollout_workers: int | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run.

    :param result: Its result; ``None`` if it failed
    :param reason: Why it failed
    """

    result: Result | None = None
    reason: str | None = None


class Progress(NamedTuple):
    """How far a run has come.

    :param steps: Steps so far
    :param mean_return: Mean return of the last 100 episodes; NaN before the first has ended
    """

    steps: int
    mean_return: float


def do_run(task: Task) -> Outcome:
    """Do a run in this process, with one thread, and in its rollout workers, if it has some.

    :param task: The run
    :return: Its result, or the reason of its failure; an exception is never raised
    """
    th.set_num_threads(1)
    guard, folder = Guard(task.timeout), Path(task.folder)
    written = -PROGRESS_SECONDS

    def report(steps: int, mean_return: float) -> None:
        nonlocal written
        guard.check_time()
        if time.monotonic() - written > PROGRESS_SECONDS and folder.is_dir():
            written = time.monotonic()
            with contextlib.suppress(OSError):  # such as a full disk: it is only shown
                (folder / PROGRESS).write_text(f"{steps} {mean_return}")

    def train() -> tuple[BaseAlgorithm, Result]:
        checkpoints, workers = _checkpoints(task.run, folder), task.rollout_workers
        return fit(task.run, report, guard.look_at, guard.watch, checkpoints, rollout_workers=workers)

    try:
        with _ended_when_stuck(task):
            try:
                model, result = train()
            except NotRestored:  # its checkpoints are gone
                model, result = train()
        check_score(task.run, result)
        if task.model_folder is not None:
            _save(task.run, Path(task.model_folder), model, result)
    except (Exception, SystemExit) as error:  # environments with a window may call sys.exit()
        traceback.print_exc()
        return Outcome(reason=guard.reason(error))
    return Outcome(result)


def _save(run: Run, folder: Path, model: BaseAlgorithm, result: Result) -> None:
    """Save a trained model. If that is impossible, the run is done all the same; the command says what is missing."""
    if folder.parent.is_dir():
        try:
            save_run(folder, {"run": run.description()}, model, result)
        except OSError:  # such as a full disk
            traceback.print_exc()


def read_progress(folder: Path) -> Progress | None:
    """How far the run in a folder has come, ``None`` if that is not known.

    :param folder: A task's folder
    """
    try:
        steps, mean_return = (folder / PROGRESS).read_text().split()
        return Progress(int(steps), float(mean_return))
    except (OSError, ValueError):
        return None


# ---- Hanging runs ----


@contextlib.contextmanager
def _ended_when_stuck(task: Task) -> Iterator[None]:
    """End the process when a run with a timeout hangs in a step of the environment or in an update.

    faulthandler's thread is no Python thread, so it ends a simulator in C too. What it writes tells the coordinator why
    the process died.
    """
    if task.timeout is None:
        yield
        return
    with contextlib.ExitStack() as files:
        folder = Path(task.folder)
        file = files.enter_context((folder / HUNG).open("w")) if folder.is_dir() else sys.stderr
        faulthandler.dump_traceback_later(task.timeout + STUCK_SECONDS, exit=True, file=file)
        files.callback(faulthandler.cancel_dump_traceback_later)
        yield


def hung(task: Task) -> Outcome:
    """The outcome of a run whose process was ended because it hung.

    :param task: The run, with a timeout
    """
    return Outcome(
        reason=f"timeout: the run hung: it was to end after {task.timeout:g} s and did not come back for "
        f"{STUCK_SECONDS:g} s more, in a step of the environment or in an update; its process was ended"
    )


def has_hung(folder: Path) -> bool:
    """Whether the process of the run in a folder was ended because it hung.

    :param folder: A task's folder
    """
    return (folder / HUNG).is_file() and (folder / HUNG).stat().st_size > 0


# ---- Checkpoints ----


class NotRestored(Exception):  # noqa: N818 (nobody sees it)
    """A checkpoint could not be restored completely: the run has to begin again."""


class RunCheckpoints(ResumableCheckpointCallback):
    """Writes a checkpoint every :data:`CHECKPOINT_SECONDS`, so that a kill costs seconds.

    It never changes a result: a checkpoint is written only if it holds the state of every environment, and one that
    other software or another kind of processor wrote is not used, nor one that cannot be restored completely.

    :param folder: Folder for the checkpoints of this run
    """

    reads_step_values = False  # a subclass has to say so itself; values read step by step have other last bits

    def __init__(self, folder: Path):
        super().__init__(folder, every=1, keep=1, resume=True)
        self._written = time.monotonic()
        self._is_checked = False

    def check(self, model: OnPolicyAlgorithm, total_timesteps: int) -> None:
        found, faults = newest_checkpoint(self.path)
        made_with, here = _read_versions(self.path), versions(model.get_env())
        differs = found is not None and differences(found.about["surroundings"], surroundings(model))
        if faults or differs or (found is not None and made_with != here):
            self._remove_all()
        with contextlib.suppress(OSError):  # without the file, a checkpoint is not used
            write_text(self.path / MADE_WITH, json.dumps(here))
        super().check(model, total_timesteps)

    def _is_due(self, steps: int, iterations: int | None = None) -> bool:
        if iterations is None:
            # The environments have checked during the last rollout that their states can be kept.
            due, self._is_checked = self._is_checked, False
            return due
        self._is_checked = time.monotonic() - self._written > CHECKPOINT_SECONDS
        return self._is_checked

    def _write(self, finished: bool) -> None:
        self._written = time.monotonic()
        if not finished:
            with contextlib.suppress(OSError):  # such as a full disk: the run goes on without
                super()._write(finished)

    def _puts_off(self, environments: VecEnvState) -> bool:
        return bool(environments.awaited() or environments.lost())

    def _tell_faults(self, faults: list[str]) -> None:
        if faults:
            self._remove_all()
            raise NotRestored

    def _remove_all(self) -> None:
        for path in checkpoint_paths(self.path):
            path.unlink()


def _read_versions(folder: Path) -> Any:
    try:
        return json.loads((folder / MADE_WITH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _checkpoints(run: Run, folder: Path) -> list[ResumableCheckpointCallback]:
    if not folder.is_dir() or not issubclass(algorithm_class(run.algorithm), OnPolicyAlgorithm):
        return []
    return [RunCheckpoints(folder)]


# ---- A run in a process of its own ----

_START = "import sys; sys.path += sys.argv[1:]; from sb3_ppo_variants.experiments.engine.task import main; main()"


def do_run_in_subprocess(task: Task, paths: Sequence[str] = ()) -> Outcome:
    """Do a run in a process of its own, for executors whose workers have other threads and settings.

    :param task: The run
    :param paths: Folders that modules are imported from, after the worker's own
    :return: Its result, or the reason of its failure
    :raises ChildProcessError: if the process died
    """
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ONE_THREAD,
        start_new_session=True,
        text=True,
    )
    is_wanted = _wanted_by_dask()
    given: str | None = json.dumps({"parent": os.getpid(), **dataclasses.asdict(task)})
    try:
        while True:
            try:
                answer, _ = process.communicate(given, timeout=1.0)
                break
            except subprocess.TimeoutExpired:
                given = None
                if not is_wanted():
                    return Outcome(reason="lost: the command that wanted it has ended")
    finally:
        process.kill()
    if process.returncode == 0:
        found = json.loads(answer)
        return Outcome(None if found["result"] is None else Result.from_json(found["result"]), found["reason"])
    if task.timeout is not None and time.monotonic() - start >= task.timeout + STUCK_SECONDS:
        return hung(task)
    raise ChildProcessError(f"the process of {task.run.label()} died with code {process.returncode}")


def main() -> None:
    """Entry point of the process of one run: a task as JSON from stdin, its outcome to stdout."""
    # What the environment prints must not mix with the outcome.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    given = json.load(sys.stdin)
    ends_with(given.pop("parent"))()
    outcome = do_run(Task(Run(**given.pop("run")), **given))
    json.dump({"result": outcome.result and outcome.result.to_json(), "reason": outcome.reason}, out)
    out.close()


def ends_with(parent: int) -> Callable[[], None]:
    """A function that lets the process that calls it end when its parent dies.

    It is a nested function because cloudpickle sends these by value: a worker watches its parent before it has imported
    torch.

    :param parent: Process id of the parent
    """

    def begin() -> None:
        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(1.0)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()

    return begin


def _wanted_by_dask() -> Callable[[], bool]:
    """A function that says whether the Dask task that this thread does is still wanted; outside Dask it always is.

    Dask forgets a running task when its client ends or cancels it, and does not stop it.
    """
    worker: Any = sys.modules.get("distributed.worker")
    try:
        found, key = worker.get_worker(), worker.thread_state.key
    except (AttributeError, ValueError):
        return lambda: True
    return lambda: key in found.state.tasks and found.state.tasks[key].state in ("executing", "long-running")
