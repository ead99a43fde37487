"""Arrays in memory that processes share and no file names, so that no death leaves it behind."""

import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

#: Name → shape and dtype.
Fields = Mapping[Any, tuple[tuple[int, ...], np.dtype]]
#: Arrays begin at multiples of a cache line.
_ALIGNMENT = 64


class SharedArrays:
    """
    :param fields: The arrays, by name; new memory holds zeros
    :param descriptor: Of memory made in another process, with the same fields; it is closed. ``None``: new memory
    """

    def __init__(self, fields: Fields, descriptor: int | None = None):
        self.fields = dict(fields)
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in self.fields.values()]
        offsets = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]).tolist()
        total = max(offsets.pop(), 1)
        self._descriptor = _unnamed_file(total) if descriptor is None else descriptor
        memory = mmap.mmap(self._descriptor, total)
        self.arrays: dict[Any, np.ndarray] = {
            name: np.ndarray(shape, dtype, memory, offset)
            for (name, (shape, dtype)), offset in zip(self.fields.items(), offsets, strict=True)
        }
        if descriptor is not None:
            self.close_descriptor()

    def send(self, connection: Connection, pid: int | None) -> None:
        """
        :param connection: To a process that calls ``receive`` on its end
        :param pid: Of the process
        """
        connection.send(self.fields)
        reduction.send_handle(connection, self._descriptor, pid)

    @classmethod
    def receive(cls, connection: Connection) -> "SharedArrays":
        """
        :param connection: To the process that calls ``send``
        :return: its arrays
        """
        return cls(connection.recv(), reduction.recv_handle(connection))

    def close_descriptor(self) -> None:
        """Called once nobody else has to be given the memory. The arrays hold it as long as they live."""
        os.close(self._descriptor)


def _unnamed_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sb3_ppo_variants")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor
