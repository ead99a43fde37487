"""The workers as the main process sees them: started, asked, watched, ended."""

import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np

from sb3_ppo_variants.nonfinite.error import NonFiniteError
from sb3_ppo_variants.rollouts.masking import MaskError
from sb3_ppo_variants.workers.errors import Failure, WorkerError
from sb3_ppo_variants.workers.process import run_worker, send
from sb3_ppo_variants.workers.share import NO_ENVIRONMENT
from sb3_ppo_variants.workers.shared_memory import SharedArrays

#: Seconds that a worker may take to import what it needs and to make its environments, at least.
_STARTING = 300.0
#: Seconds that a worker may take to close its environments.
_CLOSING = 5.0


class _Member(NamedTuple):
    """
    :param process: The worker
    :param connection: To it
    :param envs: Which environments it has
    """

    process: BaseProcess
    connection: Connection
    envs: slice


@contextmanager
def _known_default(start_method: str) -> Iterator[None]:
    """
    A process that is started is told the default start method, and fails if it does not know it: in a worker of loky or
    joblib that is a method of their own.

    :param start_method: The default in the meantime
    """
    default = multiprocessing.get_start_method(allow_none=True)
    if default is None or default in multiprocessing.get_all_start_methods():
        yield
        return
    multiprocessing.set_start_method(start_method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(default, force=True)


class Team:
    """
    Processes that each have some of the environments.

    :param env_fns: They make the environments
    :param n_workers: W
    :param start_method: ``"spawn"`` or ``"forkserver"``
    :param timeout: Seconds without a sign of life after which a worker counts as hanging
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env]], n_workers: int, start_method: str, timeout: float):
        self.timeout = timeout
        #: How many steps each worker's environments have made, and which is at work: shape (W, 2).
        self.progress = np.tile([0, NO_ENVIRONMENT], (n_workers, 1))
        self.closed = False
        # Workers that have yet to answer, each with its command, and the answers so far.
        self._pending: dict[int, str] = {}
        self._answers: dict[int, Any] = {}
        self.members: list[_Member] = []
        context: Any = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            # Torch and SB3 take seconds to import: once, not in each worker.
            context.set_forkserver_preload(["__main__", "sb3_ppo_variants.workers.preload"])
        edges = [len(env_fns) * number // n_workers for number in range(n_workers + 1)]
        try:
            for number, (start, stop) in enumerate(pairwise(edges)):
                ours, theirs = context.Pipe()
                arguments = theirs, number, start, cloudpickle.dumps(env_fns[start:stop]), start_method == "forkserver"
                process = context.Process(target=run_worker, args=arguments, daemon=True)
                self.members.append(_Member(process, ours, slice(start, stop)))
                with _known_default(start_method):
                    process.start()
                theirs.close()
        except BaseException:
            self._end()
            raise

    def worker_of(self, env_index: int) -> int:
        """
        :param env_index: Number of an environment
        :return: number of its worker
        """
        return next(number for number, member in enumerate(self.members) if env_index < member.envs.stop)

    # ---- Asking ----

    def ask(self, command: str, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        """
        :param command: A method of ``process.Worker``
        :param arguments: For each worker
        :return: the answers of all workers
        :raises WorkerError: a worker dies, hangs, or an environment raises in it
        """
        self.begin(command, dict(enumerate(arguments)))
        return list(self.finish().values())

    def begin(self, command: str, arguments: dict[int, tuple[Any, ...]]) -> None:
        """
        Ask without waiting for answers.

        :param command: A method of ``process.Worker``
        :param arguments: For the workers asked, by number
        :raises WorkerError: the environments are closed
        """
        if self.closed:
            raise WorkerError("The environments are closed, and their workers have ended: make them anew.")
        self._wait()  # an earlier command, interrupted by Ctrl-C, is answered first
        self._answers = {}
        for number, given in arguments.items():
            with suppress(BrokenPipeError, ConnectionError):  # it is dead, which is noticed while waiting
                send(self.members[number].connection, (command, given), by_reference=command == "step")
            self._pending[number] = command

    def finish(self) -> dict[int, Any]:
        """
        :return: the answers to what ``begin`` asked, by worker
        :raises WorkerError: as in ``ask``
        """
        self._wait()
        answers = {number: self._answers[number] for number in sorted(self._answers)}
        for answer in answers.values():
            if isinstance(answer, Failure):
                raise answer.exception()
        return answers

    def share(self, arrays: SharedArrays, command: str, *arguments: Any) -> None:
        """
        :param arrays: Memory for all workers
        :param command: The method of ``process.Worker`` that takes it
        :param arguments: Of the method
        :raises WorkerError: as in ``ask``
        """
        self.begin(command, dict.fromkeys(range(len(self.members)), arguments))
        for member in self.members:
            with suppress(BrokenPipeError, ConnectionError):
                arrays.send(member.connection, member.process.pid)
        self._wait()
        arrays.close_descriptor()

    # ---- Watching ----

    def _wait(self) -> None:
        signs, since = self.progress.copy(), time.monotonic()
        while self._pending:
            waited_for: list[Any] = [self.members[number].connection for number in self._pending]
            waited_for += [self.members[number].process.sentinel for number in self._pending]
            ready = wait(waited_for, timeout=min(self.timeout / 4, 1.0))
            for number in list(self._pending):
                member = self.members[number]
                if member.connection in ready:
                    self._receive(number)
                elif member.process.sentinel in ready and not member.connection.poll():
                    self._has_died(number)
            if ready or (self.progress != signs).any():
                signs, since = self.progress.copy(), time.monotonic()
            else:
                self._check_time(time.monotonic() - since)

    def _receive(self, number: int) -> None:
        try:
            succeeded, answer = pickle.loads(self.members[number].connection.recv_bytes())
        except (EOFError, ConnectionError):
            self._has_died(number)
        # A method that raises, and most do so in all workers alike, leaves the workers as they are.
        if self._pending.pop(number) != "call" and not succeeded:
            self._raise(number, answer)
        self._answers[number] = answer

    def _check_time(self, seconds: float) -> None:
        number, command = next(iter(self._pending.items()))
        if seconds < (max(self.timeout, _STARTING) if command in ("make", "share", "plan") else self.timeout):
            return
        env_index, place = self._place(number)
        self._end()
        raise WorkerError(
            f"{self._name(number)} has given no sign of life for {seconds:.0f} s {place}. All workers have been ended; "
            f"where steps may take so long, pass a larger timeout than {self.timeout:g}.",
            number,
            env_index,
            int(self.progress[number, 0]),
        )

    def _has_died(self, number: int) -> None:
        process = self.members[number].process
        process.join(_CLOSING)
        exit_code = process.exitcode
        env_index, place = self._place(number)
        cause = "it was killed (by the system where memory runs out), or an environment crashed"
        if self._pending.get(number) == "make":
            cause = (
                'most likely the script has no `if __name__ == "__main__":` around what it runs, which workers import '
                f"(their error is printed above); otherwise {cause}"
            )
        self._end()
        raise WorkerError(
            f"{self._name(number)} has died {place}, with exit code {exit_code}: {cause}. All workers have been ended.",
            number,
            env_index,
            int(self.progress[number, 0]),
        )

    def _raise(self, number: int, failure: Failure) -> None:
        # The workers now stand at different steps.
        env_index, place = self._place(number)
        self._end()
        if isinstance(failure.error, NonFiniteError | MaskError):
            raise failure.error
        summary = failure.summary.removesuffix(".")
        raise WorkerError(
            f"{self._name(number)} has failed {place}: {summary}. All workers have been ended.",
            number,
            env_index,
            int(self.progress[number, 0]),
        ) from failure.exception()

    def _name(self, number: int) -> str:
        envs = self.members[number].envs
        last = envs.stop - 1
        which = f"environment {last}" if envs.start == last else f"environments {envs.start} to {last}"
        return f"Worker {number} ({which})"

    def _place(self, number: int) -> tuple[int | None, str]:
        n_steps, env_index = self.progress[number].tolist()
        if env_index == NO_ENVIRONMENT:
            return None, f"outside any environment, after {n_steps} steps of each"
        return env_index, f"in environment {env_index}, after {n_steps} steps"

    # ---- Ending ----

    def close(self) -> None:
        """Close the environments and end the workers; those that are at work are killed after some seconds."""
        if self.closed:
            return
        for number, member in enumerate(self.members):
            if number not in self._pending:
                with suppress(BrokenPipeError, ConnectionError):
                    send(member.connection, ("close", ()))
        deadline = time.monotonic() + _CLOSING
        for member in self.members:
            member.process.join(max(deadline - time.monotonic(), 0))
        self._end()

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._pending = {}
        for member in self.members:
            if member.process.pid is not None:
                # Not terminate(): a stopped process would go on when it is continued.
                member.process.kill()
                member.process.join(_CLOSING)
                with suppress(ValueError):  # it is still there, even after being killed
                    member.process.close()
            member.connection.close()
