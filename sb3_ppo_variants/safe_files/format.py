"""The container of the safe format: a safetensors file with one JSON document in its metadata.

Nothing in it has to be unpickled, unpacked or executed. The document is in canonical form, so that no two readers can
disagree on it, and holds a checksum over itself and every tensor.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch as th
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sb3_ppo_variants.files import atomic
from sb3_ppo_variants.safe_files.schema import SafeFileError

SUFFIX = ".safetensors"
KEY = "sb3_ppo_variants"
#: Largest safetensors header (names and shapes of the tensors, and the document) in bytes.
MAX_HEADER = 2**24
#: Deepest nesting of objects and arrays in the document.
MAX_DEPTH = 16
DTYPES = (th.float16, th.bfloat16, th.float32, th.float64, th.int32, th.int64, th.uint8, th.bool)


def with_suffix(path: str | os.PathLike[str]) -> Path:
    """
    :param path: The user's path
    :return: the path, with ``.safetensors`` if it has no suffix
    """
    path = Path(path)
    return path if path.suffix else path.with_name(path.name + SUFFIX)


def write_safe(path: Path, document: dict[str, Any], tensors: dict[str, th.Tensor]) -> None:
    """
    Write a safe file completely or not at all.

    :param path: The file
    :param document: JSON values; the checksum is added
    :param tensors: By name
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    checked = canonical({**document, "sha256": checksum(document, tensors)})
    contents = save(tensors, metadata={KEY: checked})
    with atomic(path) as temporary:
        temporary.write_bytes(contents)


def read_safe(path: Path) -> tuple[dict[str, Any], dict[str, th.Tensor]]:
    """
    Read a safe file. The memory that this takes is bounded by the size of the file.

    :param path: The file
    :return: the document, without its checksum, and the tensors
    :raises SafeFileError: it is not a complete safe file
    :raises OSError: it cannot be read
    """
    _check_start(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            document = _document((file.metadata() or {}).get(KEY), path)
            # A clone, because the file may change or be deleted.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, RuntimeError, TypeError, KeyError, UnicodeError) as error:
        raise SafeFileError(f"{path} is damaged, or not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise SafeFileError(f"{path}: tensor {name!r} is of type {tensor.dtype}, which no policy has.")
    expected = document.pop("sha256", None)
    if checksum(document, tensors) != expected:
        raise SafeFileError(f"{path} is damaged: its checksum is wrong. Use another copy.")
    return document, tensors


def canonical(document: dict[str, Any]) -> str:
    """
    :param document: JSON values
    :return: their only valid text
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def checksum(document: dict[str, Any], tensors: dict[str, th.Tensor]) -> str:
    """
    :param document: JSON values, without a checksum
    :param tensors: By name, contiguous, in main memory
    :return: SHA-256 of all, in hexadecimal. It detects damage, not forgery: a forger can compute it too
    """
    digest = hashlib.sha256(canonical(document).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{json.dumps(name)} {tensor.dtype} {list(tensor.shape)}".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(tensor.reshape(-1).view(th.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_start(path: Path) -> None:
    if path.exists() and not path.is_file():
        # A pipe, say: reading it might wait for ever.
        raise SafeFileError(f"{path} is no regular file: give the file that save_safe() has written.")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
    if start[:2] == b"PK":
        raise SafeFileError(
            f"{path} is a zip file, such as SB3's save() writes. load() reads those, and runs code that is in them: "
            "use it only if you trust the file's source."
        )
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER):
        raise SafeFileError(
            f"{path} is not a whole safe file: {size} bytes, of which the header would be {length} (at most "
            f"{MAX_HEADER})."
        )


def _document(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        raise SafeFileError(f"{path} is a safetensors file, but save_safe() has not written it.")
    try:
        document = json.loads(text)
        depth = _depth(document)
        # A repeated key, or a number that is not finite, has no canonical form.
        same = isinstance(document, dict) and canonical(document) == text
    except (ValueError, RecursionError) as error:
        raise SafeFileError(f"{path}: the document is not valid JSON: {error}") from error
    if depth > MAX_DEPTH:
        raise SafeFileError(f"{path}: the document is nested more than {MAX_DEPTH} deep.")
    if not same:
        raise SafeFileError(f"{path}: the document is not in the canonical form that save_safe() writes.")
    return document


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
