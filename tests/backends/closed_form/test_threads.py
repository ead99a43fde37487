"""One thread inside the hot loops, and afterwards the numbers of before, also for models trained side by side."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import threadpoolctl
import torch as th

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.backends.closed_form.threads import single_threaded
from tests.algorithms.models import make

Threads = Callable[[], set[int]]


def blas_libraries() -> dict[str, int]:
    """Number of threads by library; there may be several, OpenCV's besides numpy's."""
    found = threadpoolctl.threadpool_info()
    return {library["filepath"]: library["num_threads"] for library in found if library["user_api"] == "blas"}


def set_blas_threads(number: int) -> None:
    # In a thread that ends: threadpoolctl lets no other one set OpenBLAS's number as long as it lives.
    setter = threading.Thread(target=threadpoolctl.threadpool_limits, args=(number, "blas"))
    setter.start()
    setter.join()


@pytest.fixture(autouse=True)
def blas_threads() -> Iterator[Threads]:
    """Three threads for torch and BLAS; the numbers of the libraries that take it (some are built for one)."""
    torchs, before = th.get_num_threads(), blas_libraries()
    # By torch's own setter: it reaches the threads that are started later.
    th.set_num_threads(3)
    set_blas_threads(3)
    movable = {path for path, number in blas_libraries().items() if number == 3}
    assert movable
    yield lambda: {number for path, number in blas_libraries().items() if path in movable}
    th.set_num_threads(torchs)
    set_blas_threads(before[movable.pop()])


def test_one_inside_and_the_users_number_outside(blas_threads: Threads) -> None:
    with single_threaded():
        assert (blas_threads(), th.get_num_threads()) == ({1}, 1)
        with single_threaded():
            assert (blas_threads(), th.get_num_threads()) == ({1}, 1)
        assert (blas_threads(), th.get_num_threads()) == ({1}, 1)
    assert (blas_threads(), th.get_num_threads()) == ({3}, 3)


def test_overlapping_python_threads(blas_threads: Threads) -> None:
    """The first one in is the first one out: the second keeps its one thread, and then puts back what was."""
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def first() -> tuple[int, int]:
        with single_threaded():
            assert second_is_in.wait(60)
            inside = th.get_num_threads()
        first_is_out.set()
        return inside, th.get_num_threads()

    def second() -> tuple[set[int], int]:
        with single_threaded():
            second_is_in.set()
            assert first_is_out.wait(60)
            return blas_threads(), th.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        of_first, of_second = pool.submit(first), pool.submit(second)
        assert of_first.result(60) == (1, 3)
        assert of_second.result(60) == ({1}, 1)
    assert (blas_threads(), th.get_num_threads()) == ({3}, 3)


def test_an_error_inside_puts_back_too(blas_threads: Threads) -> None:
    with pytest.raises(KeyError), single_threaded():
        raise KeyError
    assert (blas_threads(), th.get_num_threads()) == ({3}, 3)


def test_models_that_train_in_two_python_threads(blas_threads: Threads) -> None:
    models = [make(ClipPPO) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda model: model.learn(64 * 5), models))
    assert [model.active_backend for model in models] == ["closed_form"] * 2
    assert blas_threads() == {3}
