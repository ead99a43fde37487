"""What went wrong in a worker, told in the main process."""

import pickle
import traceback
from typing import NamedTuple


class WorkerError(RuntimeError):
    """
    A worker died, hung, or one of its environments raised. All workers have been ended.

    :param message: Which worker, environment and step, and why
    :param worker: Number of the worker
    :param env_index: Number of the environment; ``None``: the worker was in none
    :param step: How many steps the worker's environments had made
    """

    def __init__(self, message: str, worker: int = 0, env_index: int | None = None, step: int = 0):
        super().__init__(message)
        self.worker = worker
        self.env_index = env_index
        self.step = step


class RemoteTracebackError(Exception):
    """
    The cause of an exception raised in a worker: its traceback there.

    :param text: The traceback
    """

    def __init__(self, text: str):
        super().__init__(f'\n"""\n{text}"""')


class Failure(NamedTuple):
    """
    An exception on its way from a worker to the main process.

    :param error: The exception; ``None``: it cannot be pickled
    :param summary: Its type and message
    :param text: Its traceback
    """

    error: Exception | None
    summary: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """
        :param error: Being handled
        :return: as much of it as can be sent
        """
        summary = f"{type(error).__name__}: {error}"
        try:
            sent: Exception | None = pickle.loads(pickle.dumps(error))
        except Exception:
            sent = None
        return cls(sent, summary, traceback.format_exc())

    def exception(self) -> Exception:
        """
        :return: the exception, or one that says the same, caused by the worker's traceback
        """
        error = RuntimeError(self.summary) if self.error is None else self.error
        error.__cause__ = RemoteTracebackError(self.text)
        return error
