"""Settings of the process, changed for as long as any of its threads needs that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import torch as th


class ProcessWide:
    """
    A setting that is the process's: with models that train in several Python threads, the first one in changes it and
    the last one out puts back what was there before.

    :param change: Changes it, and returns what puts it back
    """

    def __init__(self, change: Callable[[], Callable[[], None]]):
        self._change = change
        self._lock = Lock()
        self._n_inside = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        :return: while it lasts, the setting is changed
        """
        with self._lock:
            if self._n_inside == 0:
                self._put_back = self._change()
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1
                if self._n_inside == 0:
                    self._put_back()


def _without_checks() -> Callable[[], None]:
    distribution = th.distributions.Distribution
    before = distribution._validate_args
    distribution.set_default_validate_args(False)
    return lambda: distribution.set_default_validate_args(before)


#: torch's switch for the checks of its distributions.
unchecked_distributions = ProcessWide(_without_checks)
