"""One thread for every test: results depend on the thread count, and two test processes share two cores."""

from pathlib import Path

import pytest
import torch as th

from tests.forms import thin_products

th.set_num_threads(1)


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are written and stay blank: drawing takes seconds, and has tests of its own."""
    monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda figure, renderer: None)


@pytest.hookimpl(tryfirst=True)  # before what is long is left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Thin the products of trainings; those of pages, commands and experiments are quick."""
    here = Path(__file__).parent
    quick = {here / "experiments", here / "numbers"}
    thin_products([item for item in items if item.path.parent != here and not quick & {*item.path.parents}])
