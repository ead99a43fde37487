"""Which cases of a parametrised test the default run has; the others are long (``pytest -m long``)."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import pytest

#: Which parameters of a test are chosen together → what identifies the choice.
Case = dict[tuple[str, ...], Hashable]


def long(*values: Any) -> Any:
    """A case of the long form alone."""
    return pytest.param(*values, marks=pytest.mark.long)


def thin_products(items: Sequence[pytest.Item]) -> None:
    """Leave of the product of several ``parametrize`` as many cases as have each value at least once; make the others
    long."""
    functions = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if hasattr(item, "callspec") and item.get_closest_marker("long") is None:
            functions[item.nodeid.partition("[")[0]].append(item)
    for cases in functions.values():
        seen = set[Any]()
        for item in diagonal_first(cases):
            values = set(case_of(item).items())
            if values <= seen:
                item.add_marker(pytest.mark.long)
            seen |= values


def case_of(item: pytest.Item) -> Case:
    given = item.callspec.params  # type: ignore[attr-defined]
    together = [mark.args[0] for mark in item.iter_markers("parametrize")]
    axes = [
        tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
        for names in together
    ]
    axes += [(name,) for name in given if not any(name in axis for axis in axes)]  # of fixtures
    return {axis: tuple(id(given[name]) for name in axis) for axis in axes}


def diagonal_first(cases: list[pytest.Item]) -> list[pytest.Item]:
    """First those that have the first value of every axis, or the second of every, and so on: no choice is shorter."""
    axes = defaultdict[tuple[str, ...], list[Hashable]](list)
    for item in cases:
        for axis, value in case_of(item).items():
            if value not in axes[axis]:
                axes[axis].append(value)
    longest = max(map(len, axes.values()))
    diagonal = [{axis: values[n % len(values)] for axis, values in axes.items()} for n in range(longest)]
    return sorted(cases, key=lambda item: case_of(item) not in diagonal)
