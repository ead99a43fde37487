"""One thread inside the closed-form hot loops, and the user's number outside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import threadpoolctl
import torch as th

from sb3_ppo_variants.backends.process_wide import ProcessWide


@cache
def _controller(user_api: str) -> threadpoolctl.ThreadpoolController:
    # Made once, and only after torch has been imported: it knows just the libraries that are loaded by then. Selected,
    # since limit(user_api=...) puts back the numbers of all the others too.
    return threadpoolctl.ThreadpoolController().select(user_api=user_api)


def find_thread_pools() -> None:
    """Know libraries that have been loaded since the first hot loop too."""
    _controller.cache_clear()


def _let_others_set() -> None:
    # Else the last one out, in another thread, could not put anything back.
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear()


def _on_one_thread() -> Callable[[], None]:
    limit = _controller("blas").limit(limits=1)
    _let_others_set()

    def put_back() -> None:
        limit.restore_original_limits()
        _let_others_set()

    return put_back


#: BLAS's number of threads. Inside a ``threadpool_limits`` of the user's in another thread, theirs holds: threadpoolctl
#: (from 3.8) lets only one thread at a time set OpenBLAS's number.
_blas = ProcessWide(_on_one_thread)


@contextmanager
def single_threaded() -> Iterator[None]:
    """
    Small matrices gain nothing from a second thread and lose much on a busy machine.

    :return: a context in which BLAS and torch use one thread
    """
    # Each Python thread has an OpenMP number of its own. torch sets it at its first call in a thread: now, not
    # over ours.
    th.get_num_threads()
    with _controller("openmp").limit(limits=1), _blas.held():
        yield


@contextmanager
def hot_loop() -> Iterator[None]:
    """
    :return: a context in which the closed form computes: ``single_threaded``, and without numpy's warnings
    """
    # Overflowing ratios are what the diagnostics show, as in torch, and what is not a number is found before a step
    # is taken.
    with single_threaded(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
        yield
