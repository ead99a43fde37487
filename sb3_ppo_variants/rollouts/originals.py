"""Whether SB3's and torch's own code is still what runs where this package computes its result in another way."""

import os
import sys
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any

#: Methods that a library defines under another name.
_DEFINED_AS = {"__call__": "_wrapped_call_impl"}


@cache
def _folders_of(*modules: str) -> tuple[str, ...]:
    """The folders of the packages that modules belong to."""
    packages = {module.partition(".")[0] for module in modules}
    files = (getattr(sys.modules.get(package), "__file__", None) for package in packages)
    return tuple(os.path.join(os.path.dirname(file), "") for file in files if file)


@cache
def _origins_of(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where a class's methods may lie: folders, and the names of the class and its bases."""
    return _folders_of(*(base.__module__ for base in kind.__mro__)), tuple(base.__qualname__ for base in kind.__mro__)


def _lies_in(function: Any, folders: tuple[str, ...]) -> bool:
    code = getattr(function, "__code__", None)  # a callable object has none
    return code is not None and code.co_filename.startswith(folders)


def replaced_method(kind: type, names: Iterable[str]) -> str | None:
    """
    :param kind: A class of a library
    :param names: Methods; those that it does not have are passed over
    :return: the first method that is not the library's own of this name: somebody has replaced it, and expects the
        replacement to be called; ``None`` if all are as shipped
    """
    folders, owners = _origins_of(kind)
    for name in names:
        method = getattr(kind, name, None)
        if method is None:
            continue
        owner, _, own_name = getattr(method, "__qualname__", "").rpartition(".")
        if own_name != _DEFINED_AS.get(name, name) or owner not in owners or not _lies_in(method, folders):
            return name
    return None


def is_replaced(module: ModuleType, name: str) -> bool:
    """
    :param module: A module of a library
    :param name: A function in it, defined there or imported from the same library
    :return: whether the function is not the library's own of this name
    """
    function = getattr(module, name)
    return getattr(function, "__qualname__", "") != name or not _lies_in(function, _folders_of(module.__name__))


def has_own(thing: Any, names: Iterable[str]) -> str | None:
    """
    :param thing: Any object
    :param names: Methods
    :return: the first of them that is set on the object itself, so that its class's is not called; ``None``: none
    """
    own = getattr(thing, "__dict__", {})
    return next((name for name in names if name in own), None)
