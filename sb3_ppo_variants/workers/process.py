"""What runs in a worker: a loop over the commands of the main process."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from threadpoolctl import threadpool_limits

from sb3_ppo_variants.workers.errors import Failure
from sb3_ppo_variants.workers.packing import unpack
from sb3_ppo_variants.workers.rollout import KeptInfo, RolloutWorker
from sb3_ppo_variants.workers.share import Share
from sb3_ppo_variants.workers.shared_memory import SharedArrays


def run_worker(connection: Connection, number: int, first: int, env_fns: bytes, is_forked: bool) -> None:
    """
    :param connection: To the main process, which sends commands and gets an answer to each; its end ends the worker
    :param number: Of the worker
    :param first: Number of its first environment
    :param env_fns: Functions that make its environments, by cloudpickle
    :param is_forked: From a server
    """
    # Ctrl-C reaches the whole process group; the main process decides what it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_main_process()
    th.set_num_threads(1)
    if is_forked:
        reseed()  # the server may have been running before it was told what to import
    worker = Worker(connection, number, first, env_fns)
    with threadpool_limits(1), contextlib.suppress(EOFError, ConnectionError):
        worker.serve()


def reseed() -> None:
    """Draw other numbers than the process that this one was forked from. ``random`` does so by itself."""
    np.random.seed()
    th.seed()


def _end_with_main_process() -> None:
    main = multiprocessing.parent_process()
    if main is None:
        return

    def watch() -> None:
        main.join()
        os._exit(1)

    # The end of the pipe is seen only between two commands, which an environment may never let happen.
    threading.Thread(target=watch, daemon=True).start()


class Worker:
    """
    Answers the commands of the main process, each named as one of the methods below.

    :param connection: To the main process
    :param number: Of the worker
    :param first: Number of its first environment
    :param env_fns: Functions that make its environments, by cloudpickle
    """

    envs: Share
    rollouts: RolloutWorker

    def __init__(self, connection: Connection, number: int, first: int, env_fns: bytes):
        self.connection = connection
        self.number = number
        self.first = first
        self._env_fns = env_fns

    def serve(self) -> None:
        """Answer until the main process closes the environments or ends."""
        command = None
        while True:
            message = self.connection.recv_bytes()
            try:
                command, arguments = pickle.loads(message)
                answer = True, getattr(self, command)(*arguments)
            except (Exception, SystemExit) as error:  # environments with a window may call sys.exit()
                answer = False, Failure.of(error)
            _answer(self.connection, answer)
            if command == "close":
                return

    # ---- Commands ----

    def make(self) -> tuple[spaces.Space, spaces.Space, dict[str, Any]]:
        """
        Make the environments.

        :return: their observation and action spaces, and their metadata
        """
        env_fns: list[Callable[[], gym.Env]] = cloudpickle.loads(self._env_fns)
        self.envs = Share(env_fns, self.first)
        return self.envs.observation_space, self.envs.action_space, self.envs.metadata

    def share(self) -> None:
        """Take the memory for steps, sent after the command, and write to it."""
        arrays = SharedArrays.receive(self.connection).arrays
        own = slice(self.first, self.first + self.envs.num_envs)
        progress = arrays.pop("progress")[self.number]
        self.envs.use({name: array[own] for name, array in arrays.items()}, progress)

    def step(self, actions: np.ndarray) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
        """
        :param actions: One per environment
        :return: the infos, and those of resets by number of the environment; all else is in shared memory
        """
        _, _, dones, infos = self.envs.step(actions)
        return infos, {self.first + i: self.envs.reset_infos[i] for i in np.flatnonzero(dones).tolist()}

    def reset(self, seeds: list[int | None], options: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        :param seeds: One per environment
        :param options: One per environment
        :return: the infos; the observations are in shared memory
        """
        self.envs._seeds, self.envs._options = seeds, options
        self.envs.reset()
        return self.envs.reset_infos

    def call(self, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """
        :param method: Of SB3's ``VecEnv``
        :param arguments: Passed to it
        :param keywords: Passed to it
        :return: what it returns for these environments
        """
        return getattr(self.envs, method)(*arguments, **keywords)

    def plan(self, packed: bytes) -> None:
        """
        Make ready for rollouts with a policy, in the memory sent after the command.

        :param packed: A ``Plan``
        """
        arrays = SharedArrays.receive(self.connection).arrays
        self.rollouts = RolloutWorker(unpack(packed), self.envs, arrays)

    def collect(self, *arguments: Any) -> tuple[list[KeptInfo], list[Any], list[dict[str, Any]]]:
        """See ``RolloutWorker.collect``."""
        return self.rollouts.collect(*arguments)

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()


def send(connection: Connection, message: Any, by_reference: bool = False) -> None:
    """
    :param connection: To another process
    :param message: Sent by cloudpickle: a class of the user's script is then the one that its environments are made of
        in the worker, which got them so too (and its class attributes there become those of this process); or where
        that cannot by pickle
    :param by_reference: First by pickle, which is faster
    """
    first, second = (pickle.dumps, cloudpickle.dumps) if by_reference else (cloudpickle.dumps, pickle.dumps)
    try:
        packed = first(message, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        packed = second(message, protocol=pickle.HIGHEST_PROTOCOL)
    connection.send_bytes(packed)


def _answer(connection: Connection, answer: tuple[bool, Any]) -> None:
    try:
        send(connection, answer, by_reference=True)
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # it cannot be pickled
        send(connection, (False, Failure.of(error)))
