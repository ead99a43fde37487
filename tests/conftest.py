"""One thread for every test: results depend on the thread count, and two test processes share two cores. And no GPU
but for the tests that are for one."""

import functools
import gc
import os
import shutil
from pathlib import Path

import pytest
from alembic.util import pyfiles

from tests.forms import thin_products

# What tests write is in memory, where there is room: flushing to the disk is half of what a ledger costs.
if (memory := Path("/dev/shm")).is_dir() and shutil.disk_usage(memory).free > 4e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
# Optuna runs its database's migrations anew for every storage.
pyfiles.load_module_py = functools.cache(pyfiles.load_module_py)


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are written and stay blank: drawing takes seconds, and has tests of its own."""
    monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda figure, renderer: None)


def pytest_configure(config: pytest.Config) -> None:
    """``device="auto"`` is the CPU, unless a marker is asked for with ``-m cuda``."""
    if "cuda" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(tryfirst=True)  # before what is long is left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Thin the products of trainings; those of pages, commands and experiments are quick. Skip what needs a GPU."""
    import torch as th  # not in the process that only hands out tests

    th.set_num_threads(1)
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device"))
            # SB3: on the CPU it would be faster.
            item.add_marker(pytest.mark.filterwarnings("ignore:You are trying to run:UserWarning"))
    here = Path(__file__).parent
    quick = {here / "experiments", here / "numbers"}
    thin_products([item for item in items if item.path.parent != here and not quick & {*item.path.parents}])
    gc.collect()
    gc.freeze()  # all test modules would be searched for garbage, again and again
