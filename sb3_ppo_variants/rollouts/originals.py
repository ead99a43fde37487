"""Whether a class of SB3's or torch's still has the methods that it was shipped with."""

import sys
from collections.abc import Iterable
from functools import cache


@cache
def _files_of(kind: type) -> frozenset[str | None]:
    return frozenset(getattr(sys.modules.get(base.__module__), "__file__", None) for base in kind.__mro__)


def replaced_method(kind: type, names: Iterable[str]) -> str | None:
    """
    :param kind: A class of a library
    :param names: Methods; those that it does not have are passed over
    :return: the first method whose code is not in a file of the class or its bases: somebody has replaced it, and
        expects it to be called; ``None`` if all are as shipped
    """
    for name in names:
        method = getattr(kind, name, None)
        code = getattr(method, "__code__", None)  # a callable object has none
        if method is not None and (code is None or code.co_filename not in _files_of(kind)):
            return name
    return None
