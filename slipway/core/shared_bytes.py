"""Bytes that grow as they are received, in memory that another process can map instead of getting a copy.

For the large bodies of requests: a tensor that goes to a process costs its size once. Needs memfd (Linux). Does not
know what the bytes mean.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from slipway.core.anonymous_file import anonymous_memory
from slipway.core.tensor import Raw

AVAILABLE: Final = hasattr(os, "memfd_create")
_FIRST: Final = 4 << 20  # bytes of address space; doubled when they are full


class SharedBytes(mmap.mmap):
    """Call `add` for each part, then `finish`. `len` is the number of bytes received; `descriptor` is the memory's,
    open for as long as this object exists."""

    descriptor: int
    _received: int

    def __new__(cls, first: bytes | bytearray) -> Self:
        """Begin with the bytes in `first`; raise OSError when out of memory or descriptors."""
        capacity = max(_FIRST, len(first))
        descriptor = anonymous_memory(capacity)
        try:
            made = super().__new__(cls, descriptor, capacity)
        except BaseException:
            os.close(descriptor)
            raise
        made.descriptor = descriptor
        made._received = 0
        weakref.finalize(made, os.close, descriptor).atexit = False
        made.add(first)
        return made

    def __len__(self) -> int:
        return self._received

    def add(self, data: bytes | bytearray) -> None:
        """Add `data`; raise MemoryError if it does not fit into memory."""
        end = self._received + len(data)
        if end > self.size():
            try:
                self.resize(max(2 * self.size(), end))
            except OSError as error:
                raise MemoryError(str(error)) from error
        self[self._received : end] = data
        self._received = end

    def finish(self) -> None:
        """Fix the size to what was received: no process that maps the memory can change it any more."""
        self.resize(self._received)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)

    def place_of(self, view: memoryview) -> int:
        """Return at which byte a view of these bytes begins."""
        return _address(view) - _address(self)


Body = bytes | bytearray | SharedBytes  # of a request


def whole_place(blobs: Sequence[Raw]) -> tuple[SharedBytes, int] | None:
    """Return the shared bytes in which all `blobs` follow one another, and where they begin; None if there are none."""
    first = blobs[0]
    if not isinstance(first, memoryview) or not isinstance(first.obj, SharedBytes):
        return None
    shared = first.obj
    start = end = shared.place_of(first)
    for blob in blobs:
        if not isinstance(blob, memoryview) or blob.obj is not shared or shared.place_of(blob) != end:
            return None
        end += blob.nbytes
    return shared, start


def _address(buffer: memoryview | mmap.mmap) -> int:
    return int(np.frombuffer(buffer, np.uint8).__array_interface__["data"][0])
