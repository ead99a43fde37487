"""One thread inside the closed-form hot loops, and the user's number outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

import threadpoolctl
import torch as th


@cache
def _controller(user_api: str) -> threadpoolctl.ThreadpoolController:
    # Made once, and only after torch has been imported: it knows just the libraries that are loaded by then. Selected,
    # since limit(user_api=...) puts back the numbers of all the others too.
    return threadpoolctl.ThreadpoolController().select(user_api=user_api)


def find_thread_pools() -> None:
    """Know libraries that have been loaded since the first hot loop too."""
    _controller.cache_clear()


class _ProcessWideLimit:
    """
    BLAS's number of threads is the process's: with models that train in several Python threads, the first one in sets
    it and the last one out puts back what was there before.

    Inside a ``threadpool_limits`` of the user's in another thread, theirs holds: threadpoolctl (from 3.8) lets only one
    thread at a time set OpenBLAS's number.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_inside = 0

    def enter(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._limit = _controller("blas").limit(limits=1)
                _let_others_set()
            self._n_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._limit.restore_original_limits()
                _let_others_set()


def _let_others_set() -> None:
    # Else the last one out, in another thread, could not put anything back.
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear()


_blas = _ProcessWideLimit()


@contextmanager
def single_threaded() -> Iterator[None]:
    """
    Small matrices gain nothing from a second thread and lose much on a busy machine.

    :return: a context in which BLAS and torch use one thread
    """
    # Each Python thread has an OpenMP number of its own. torch sets it at its first call in a thread: now, not
    # over ours.
    th.get_num_threads()
    with _controller("openmp").limit(limits=1):
        _blas.enter()
        try:
            yield
        finally:
            _blas.leave()
