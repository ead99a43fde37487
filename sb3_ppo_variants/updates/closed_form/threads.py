"""One thread inside the closed-form hot loops, and the user's number outside."""

from contextlib import AbstractContextManager
from functools import cache

import threadpoolctl


@cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # Made once, and only after torch has been imported: it knows just the libraries that are loaded by then.
    return threadpoolctl.ThreadpoolController()


def single_threaded() -> AbstractContextManager:
    """
    Small matrices gain nothing from a second thread and lose much on a busy machine.

    :return: a context in which BLAS and torch use one thread
    """
    return _controller().limit(limits=1)
