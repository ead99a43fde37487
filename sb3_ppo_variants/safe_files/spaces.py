"""Gymnasium spaces as JSON values, and back."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ppo_variants.safe_files.schema import SafeFileError, mapping, real, sequence, text, whole

#: Limits, because memory is allocated for them: choices of a discrete space, and bytes of a Box's bounds (enough for a
#: few large images).
MAX_ENTRIES = 2**24
MAX_BYTES = 2**25
_WHOLE_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_BOX_DTYPES = ("float16", "float32", "float64", "bool", *_WHOLE_DTYPES)


def space_as_data(space: spaces.Space) -> dict[str, Any]:
    """
    :param space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these
    :return: JSON values
    :raises ValueError: it is of another kind
    """
    if type(space) is spaces.Box:
        low, high = (_bounds_as_data(bounds) for bounds in (space.low, space.high))
        return {"type": "Box", "low": low, "high": high, "shape": list(space.shape), "dtype": str(space.dtype)}
    if type(space) is spaces.Discrete:
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if type(space) is spaces.MultiDiscrete:
        nvec, start = space.nvec.tolist(), space.start.tolist()
        return {"type": "MultiDiscrete", "nvec": nvec, "start": start, "dtype": str(space.dtype)}
    if type(space) is spaces.MultiBinary:
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(map(int, space.n))}
    if type(space) is spaces.Dict:
        data: dict[str, Any] = {key: space_as_data(part) for key, part in space.spaces.items()}
        # Features are put together in the order of the keys, which a JSON object does not have.
        order = {} if list(data) == sorted(data) else {"keys": list(data)}
        return {"type": "Dict", **order, "spaces": data}
    raise ValueError(
        f"A {type(space).__name__} space cannot be written to a safe file: it takes Box, Discrete, MultiDiscrete, "
        "MultiBinary, and a Dict of these. Use save()."
    )


def space_from_data(data: Any, where: str) -> spaces.Space:
    """
    :param data: JSON values
    :param where: What they describe, for the message
    :return: the space
    :raises SafeFileError: they are not what ``space_as_data`` returns
    """
    kind = text(data.get("type") if isinstance(data, dict) else data, f"{where}'s type", _READERS)
    read, keys = _READERS[kind]
    mapping(data, where, ("type", *keys), ("keys",) if kind == "Dict" else ())
    try:
        return read(data, where)
    except SafeFileError:
        raise
    except (ValueError, TypeError, AssertionError, OverflowError) as error:
        raise SafeFileError(f"{where} is no {kind} space: {error}") from error


def _bounds_as_data(bounds: np.ndarray) -> Any:
    flat = [number if math.isfinite(number) else str(number) for number in bounds.ravel().tolist()]
    # Usually one number bounds all entries.
    return flat[0] if flat and all(number == flat[0] for number in flat) else flat


def _box(data: Any, where: str) -> spaces.Box:
    shape = tuple(whole(side, f"{where}'s shape", 0, MAX_ENTRIES) for side in sequence(data["shape"], where, 8))
    dtype = np.dtype(text(data["dtype"], f"{where}'s dtype", _BOX_DTYPES))
    size = math.prod(shape)
    if size * dtype.itemsize > MAX_BYTES:
        raise SafeFileError(f"{where} has {size:.3g} entries of type {dtype}: at most {MAX_BYTES} bytes are taken.")
    low, high = (_bounds(data[side], f"{where}'s {side}", size, dtype).reshape(shape) for side in ("low", "high"))
    if not (low <= high).all():
        raise SafeFileError(f"{where}'s low is above its high.")
    return spaces.Box(low, high, shape, dtype.type)


def _bounds(data: Any, where: str, size: int, dtype: np.dtype) -> np.ndarray:
    if not isinstance(data, list):
        return np.full(size, _bound(data, where, dtype), dtype)
    if len(sequence(data, where, size)) != size:
        raise SafeFileError(f"{where} has {len(data)} entries for a shape of {size}.")
    return np.array([_bound(number, where, dtype) for number in data], dtype)


def _bound(data: Any, where: str, dtype: np.dtype) -> float:
    if dtype.kind == "b":
        if not isinstance(data, bool):
            raise SafeFileError(f"{where} is {str(data)[:80]}: it must be true or false.")
        return data
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        return whole(data, where, int(limits.min), int(limits.max))
    if data in ("inf", "-inf"):
        return float(data)
    if abs(real(data, where)) > float(np.finfo(dtype).max):
        raise SafeFileError(f"{where} does not fit into {dtype}.")
    return data


def _discrete(data: Any, where: str) -> spaces.Discrete:
    dtype = np.dtype(text(data["dtype"], f"{where}'s dtype", _WHOLE_DTYPES))
    start = whole(data["start"], f"{where}'s start", -(2**62), 2**62)
    space = spaces.Discrete(whole(data["n"], f"{where}'s n", 1, MAX_ENTRIES), start=start)
    # An older gymnasium takes no dtype.
    return space if space.dtype == dtype else spaces.Discrete(int(space.n), start=start, dtype=dtype.type)


def _multi_discrete(data: Any, where: str) -> spaces.MultiDiscrete:
    dtype = np.dtype(text(data["dtype"], f"{where}'s dtype", _WHOLE_DTYPES))
    nvec = _whole_array(data["nvec"], f"{where}'s nvec", 1, MAX_ENTRIES)
    start = _whole_array(data["start"], f"{where}'s start", -(2**62), 2**62)
    if start.shape != nvec.shape or nvec.size == 0 or nvec.sum() > MAX_ENTRIES:
        raise SafeFileError(f"{where} is no MultiDiscrete space of at most {MAX_ENTRIES} choices.")
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)


def _whole_array(data: Any, where: str, at_least: int, at_most: int) -> np.ndarray:
    if isinstance(data, list) and data and isinstance(data[0], list):
        return np.stack([_whole_array(row, where, at_least, at_most) for row in data])
    numbers = [whole(number, where, at_least, at_most) for number in sequence(data, where, MAX_ENTRIES)]
    return np.array(numbers, np.int64)


def _multi_binary(data: Any, where: str) -> spaces.MultiBinary:
    if isinstance(data["n"], int):
        return spaces.MultiBinary(whole(data["n"], f"{where}'s n", 1, MAX_ENTRIES))
    sides = [whole(side, f"{where}'s n", 1, MAX_ENTRIES) for side in sequence(data["n"], f"{where}'s n", 8)]
    if math.prod(sides) > MAX_ENTRIES:
        raise SafeFileError(f"{where} has {math.prod(sides):.3g} entries: at most {MAX_ENTRIES} are taken.")
    return spaces.MultiBinary(sides)


def _dict(data: Any, where: str) -> spaces.Dict:
    parts = mapping(data["spaces"], f"{where}'s spaces", optional=data["spaces"])
    order = sequence(data.get("keys", sorted(parts)), f"{where}'s keys", len(parts))
    if sorted(order) != sorted(parts):
        raise SafeFileError(f"{where}'s keys are not those of its spaces.")
    found: dict[str, spaces.Space] = {}
    n_bytes = 0
    for key in order:
        part = parts[key]
        if not isinstance(part, dict) or part.get("type") == "Dict":
            raise SafeFileError(f"{where} has a Dict within a Dict, which SB3 does not take, or no space at all.")
        found[key] = space_from_data(part, f"{where}[{key[:80]!r}]")
        n_bytes += math.prod(found[key].shape or ()) * np.dtype(found[key].dtype).itemsize
        if n_bytes > MAX_BYTES:
            raise SafeFileError(f"{where} is larger than {MAX_BYTES} bytes.")
    if not found:
        raise SafeFileError(f"{where} is empty.")
    return spaces.Dict(list(found.items()))  # of a dictionary it would sort the keys


#: Per type: what makes the space, and the keys that its data has.
_READERS: dict[str, tuple[Callable[[Any, str], spaces.Space], tuple[str, ...]]] = {
    "Box": (_box, ("low", "high", "shape", "dtype")),
    "Discrete": (_discrete, ("n", "start", "dtype")),
    "MultiDiscrete": (_multi_discrete, ("nvec", "start", "dtype")),
    "MultiBinary": (_multi_binary, ("n",)),
    "Dict": (_dict, ("spaces",)),
}
