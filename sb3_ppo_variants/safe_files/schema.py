"""Reading JSON values from a file that may come from anybody: a value of an unexpected kind raises a clear error."""

import sys
from collections.abc import Collection
from typing import Any


class SafeFileError(ValueError):
    """A file that is not a complete and valid safe file."""


def mapping(value: Any, where: str, required: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Any]:
    """
    :param value: A JSON value
    :param where: Its name, for the message
    :param required: Keys that it must have
    :param optional: Further keys that it may have
    :return: the value, if it is an object with these keys
    :raises SafeFileError: it is not
    """
    if not isinstance(value, dict):
        raise SafeFileError(f"{where} is {_shown(value)}: it must be an object.")
    missing, unknown = set(required) - set(value), set(value) - set(required) - set(optional)
    if missing:
        raise SafeFileError(f"{where} has no {_listed(missing)}.")
    if unknown:
        raise SafeFileError(f"{where} has {_listed(unknown)}, which this version does not know.")
    return value


def sequence(value: Any, where: str, at_most: int) -> list[Any]:
    """
    :param value: A JSON value
    :param where: Its name, for the message
    :param at_most: Its largest length
    :return: the value, if it is an array
    :raises SafeFileError: it is not, or is longer
    """
    if not isinstance(value, list) or len(value) > at_most:
        raise SafeFileError(f"{where} is {_shown(value)}: it must be an array of at most {at_most} entries.")
    return value


def whole(value: Any, where: str, at_least: int = 0, at_most: int = 2**63 - 1) -> int:
    """
    :param value: A JSON value
    :param where: Its name, for the message
    :param at_least: Its smallest value
    :param at_most: Its largest value
    :return: the value, if it is a whole number
    :raises SafeFileError: it is not, or is out of this range
    """
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value <= at_most:
        raise SafeFileError(f"{where} is {_shown(value)}: it must be a whole number from {at_least} to {at_most}.")
    return value


def real(value: Any, where: str) -> float:
    """
    :param value: A JSON value
    :param where: Its name, for the message
    :return: the value, if it is a finite number
    :raises SafeFileError: it is not
    """
    # A comparison and not isfinite(), which raises for an int too large for a float. It is false for a NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise SafeFileError(f"{where} is {_shown(value)}: it must be a finite number.")
    return value


def text(value: Any, where: str, among: Collection[str] = ()) -> str:
    """
    :param value: A JSON value
    :param where: Its name, for the message
    :param among: The allowed strings; empty: any of at most 256 characters
    :return: the value, if it is a string
    :raises SafeFileError: it is not, or is not allowed
    """
    if not isinstance(value, str) or len(value) > 256 or (among and value not in among):
        rule = f"one of {', '.join(sorted(among))}" if among else "a string of at most 256 characters"
        raise SafeFileError(f"{where} is {_shown(value)}: it must be {rule}.")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"an {'object' if isinstance(value, dict) else 'array'} of {len(value)} entries"
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a whole number of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _listed(names: Collection[str]) -> str:
    return ", ".join(_shown(name) for name in sorted(names)[:5])
