"""Where runs are done: on this machine (loky), on a Dask cluster, as SLURM jobs (submitit), or by any ``submit``."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sb3_ppo_variants.checks import integer, number, optional
from sb3_ppo_variants.cores import available_cores
from sb3_ppo_variants.experiments.engine.task import ONE_THREAD, Outcome, Task, do_run, do_run_in_subprocess, ends_with

LOCAL = "local"
check_jobs = optional(integer(at_least=1, hint="Leave it out to use every available core."))
check_timeout = optional(number(above=0, hint="It is in seconds."))
FORMS = "local, dask:tcp://HOST:PORT, submitit, submitit:slurm or submitit:local"


class FutureOutcome(Protocol):
    """What ``submit`` returns: the part of ``concurrent.futures.Future`` that submitit's jobs have, too."""

    def done(self) -> bool: ...

    def result(self) -> Any: ...

    def cancel(self) -> Any: ...


@runtime_checkable
class SubmitsCalls(Protocol):
    """An executor of the user: a ``concurrent.futures.Executor``, a Dask client, a submitit executor, …"""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any: ...


class TaskExecutor(Protocol):
    """Does tasks.

    :ivar jobs: How many runs may be under way at once
    :ivar rollout_workers: Number of rollout workers of each run that has some; ``None``: one per usable core
    :ivar log: Where the output of the runs is, for messages
    """

    jobs: int
    rollout_workers: int | None
    log: str

    def submit(self, task: Task) -> FutureOutcome:
        """Start a task. The future's result is its outcome; an exception means that its process died."""

    def close(self) -> None:
        """End what is still under way."""


class LocalExecutor:
    """Worker processes on this machine, with one thread each.

    Each is an executor of loky's with a single worker: when one dies, all futures of its executor fail. A script needs
    no ``if __name__ == "__main__"``.

    :param jobs: Number of processes
    :param log: File for their output
    :param function: Does a task
    :param rollout_workers: See :class:`TaskExecutor`
    """

    def __init__(
        self,
        jobs: int,
        log: Path,
        function: Callable[[Task], Outcome] = do_run,
        rollout_workers: int | None = None,
    ):
        self.jobs, self.log, self.function, self.rollout_workers = jobs, str(log), function, rollout_workers
        self._pools: dict[Any, Future[Outcome]] = {}  # each with what it did last

    def submit(self, task: Task) -> FutureOutcome:
        for pool, last in list(self._pools.items()):
            if last.done():
                try:
                    if last.exception() is None:
                        self._pools[pool] = pool.submit(self.function, task)
                        return self._pools[pool]
                except BrokenExecutor:
                    pass  # its worker has died since
                self._end(pool)
        pool = self._start()
        self._pools[pool] = pool.submit(self.function, task)
        return self._pools[pool]

    def close(self) -> None:
        for pool in list(self._pools):
            self._end(pool)

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        Path(self.log).parent.mkdir(parents=True, exist_ok=True)
        return ProcessPoolExecutor(1, env=ONE_THREAD, initializer=_worker_start(os.getpid(), self.log))

    def _end(self, pool: Any) -> None:
        del self._pools[pool]
        pool.shutdown(wait=True, kill_workers=True)


def _worker_start(parent: int, log: str) -> Callable[[], None]:
    """What a worker does first; nested for the reason that :func:`.task.ends_with` gives."""
    end_with_parent = ends_with(parent)

    def begin() -> None:
        # Ctrl-C reaches the whole process group; the coordinator ends its workers itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with_parent()
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)

    return begin


class RemoteExecutor:
    """Hands runs to the executor of someone else; there, each is a process of its own.

    :param executor: The executor
    :param jobs: How many runs may be under way at once
    :param rollout_workers: See :class:`TaskExecutor`
    """

    log = "the executor's own logs"

    def __init__(self, executor: SubmitsCalls, jobs: int, rollout_workers: int | None = None):
        self.executor, self.jobs, self.rollout_workers = executor, jobs, rollout_workers
        self._futures: list[FutureOutcome] = []
        # The current folder and the like; a worker that has none of these folders has to have the modules installed.
        self._paths = [str(Path(path or ".").resolve()) for path in sys.path]

    def submit(self, task: Task) -> FutureOutcome:
        future: FutureOutcome = self.executor.submit(do_run_in_subprocess, task, self._paths)
        self._futures = [f for f in self._futures if not f.done()] + [future]
        return future

    def close(self) -> None:
        for future in self._futures:
            if not future.done():
                future.cancel()


def task_executor(executor: Any, jobs: int | None, folder: Path, rollout_workers: int | None = None) -> TaskExecutor:
    """The executor of a command.

    :param executor: ``"local"``, ``"dask:tcp://host:port"``, ``"submitit"`` (jobs on this machine or, where SLURM is
        installed, SLURM's), ``"submitit:slurm"``, ``"submitit:local"``, or any object with ``submit``
    :param jobs: How many runs may be under way at once; ``None``: as many as there are cores here or threads in the
        Dask cluster, 100 SLURM jobs; with rollout workers fewer
    :param folder: Folder for logs
    :param rollout_workers: Rollout workers of each run; ``None``: its environments are stepped in its own process
    :raises ValueError: if there is no such executor, its package is missing, or there are fewer cores than
        ``jobs * rollout_workers``
    :raises TypeError: if it is neither a name nor an object with ``submit``
    """
    check_jobs("jobs", jobs)
    if isinstance(executor, str):
        kind, _, where = executor.partition(":")
        if executor == LOCAL:
            fitting = fitting_jobs(jobs, available_cores(), rollout_workers)
            return LocalExecutor(fitting, folder / "workers.log", rollout_workers=rollout_workers)
        if kind == "dask" and where:
            return _dask(where, jobs, rollout_workers)
        if kind == "submitit":
            return _submitit(where, jobs, folder / "submitit", rollout_workers)
        raise ValueError(f"There is no executor {executor!r}: give {FORMS}")
    if hasattr(executor, "get_executor"):  # a Dask client
        return _of_client(executor, jobs, rollout_workers)
    if not isinstance(executor, SubmitsCalls):
        raise TypeError(f"An executor is a name ({FORMS}) or an object with submit(function, *args), got {executor!r}")
    # How many cores it has is not known: jobs that are given count.
    default = fitting_jobs(None, getattr(executor, "_max_workers", None) or available_cores(), rollout_workers)
    return RemoteExecutor(executor, jobs or default, rollout_workers)


def fitting_jobs(jobs: int | None, cores: int, rollout_workers: int | None) -> int:
    """How many runs may be under way at once; with rollout workers, no more than the cores suffice for.

    :param jobs: The number asked for; ``None``: as many as possible, at least 1
    :param cores: Number of cores
    :param rollout_workers: Rollout workers of each run; ``None``: none, and any number of jobs is accepted
    :raises ValueError: if jobs and rollout workers are given and are together too many
    """
    if rollout_workers is None:
        return jobs or cores
    if jobs is not None and jobs * rollout_workers > cores:
        raise ValueError(
            f"{jobs} jobs with {rollout_workers} rollout workers each take {jobs * rollout_workers} cores, and there "
            f"are {cores}: give fewer of either, or leave jobs out (--jobs)"
        )
    return jobs or max(cores // rollout_workers, 1)


def _of_client(client: Any, jobs: int | None, rollout_workers: int | None) -> RemoteExecutor:
    """The executor of a Dask client."""
    fitting = fitting_jobs(jobs, sum(client.nthreads().values()), rollout_workers)
    # pure=False: equal calls are two calls, as when a run is submitted again.
    return RemoteExecutor(client.get_executor(pure=False), fitting, rollout_workers)


def _dask(address: str, jobs: int | None, rollout_workers: int | None) -> TaskExecutor:
    _needs("distributed", "dask")
    from distributed import Client

    try:
        client = Client(address, timeout="10s")
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"Cannot reach a Dask scheduler at {address}: {error}. Start one with: dask scheduler"
        ) from error
    if not client.nthreads():
        client.close()
        raise ValueError(f"The Dask scheduler at {address} has no workers. Start some with: dask worker {address}")
    remote = _of_client(client, jobs, rollout_workers)
    remote.log = "the logs of the Dask workers"
    return remote


def _submitit(cluster: str, jobs: int | None, folder: Path, rollout_workers: int | None) -> TaskExecutor:
    _needs("submitit", "submitit")
    import submitit

    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster or None)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"submitit has no cluster {cluster!r} here: {error}") from error
    # SLURM's own variables (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, …) say the rest.
    cores = rollout_workers or 1
    executor.update_parameters(name="ppo-variants", timeout_min=7 * 24 * 60, cpus_per_task=cores, tasks_per_node=1)
    is_slurm = executor.cluster == "slurm"
    fitting = (jobs or 100) if is_slurm else fitting_jobs(jobs, available_cores(), rollout_workers)
    remote = RemoteExecutor(executor, fitting, rollout_workers)
    remote.log = str(folder)
    return remote


def _needs(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"--executor {extra} needs {module}: pip install 'sb3_ppo_variants[{extra}]'")
