"""One registered region, and a place in it, from which an input is read or to which an output is written.

A region is never mapped. Its owner can shorten it at any time, and then whoever touches the mapping is killed (SIGBUS);
a copy by the kernel ends early instead, and what a client writes after its request was checked has no effect.
Measured for 4 MiB: 0.26 ms to read and 0.30 ms to write, where a copy from a mapping takes 0.09 ms. That is the price.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.core.tensor import Raw
from slipway.errors import SlipwayError, invalid, shown, unavailable, unforeseen

_AT_A_TIME: Final = 1 << 30  # bytes; the kernel copies at most 2 GiB in one call


@dataclass(slots=True, eq=False, weakref_slot=True)
class Region:
    """`byte_size` bytes from byte `offset` of the file `descriptor`, which the region owns.

    The file is closed when nothing refers to the region any more. `uses` counts the places that requests in flight use;
    `is_leaving` says that the region goes when it is 0.
    """

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int
    uses: int = 0
    is_leaving: bool = False

    def __post_init__(self) -> None:
        """Take charge of the descriptor."""
        weakref.finalize(self, os.close, self.descriptor).atexit = False


@dataclass(frozen=True, slots=True)
class RegionPlace:
    """`size` bytes from byte `offset` of a region."""

    region: Region
    offset: int
    size: int

    def read(self) -> memoryview:
        """Return a copy of the bytes. Raise INVALID_ARG if the file has become shorter, UNAVAILABLE if there is not
        enough memory."""
        self.check()
        try:
            copy = np.empty(self.size, np.uint8).data
        except MemoryError as error:
            raise unforeseen(error) from None
        done, start = 0, self.region.offset + self.offset
        try:
            while done < self.size:
                count = os.preadv(self.region.descriptor, [copy[done : done + _AT_A_TIME]], start + done)
                if not count:
                    raise self._shortened()
                done += count
        except OSError as error:
            raise self._failed("read from", error) from None
        return copy.toreadonly()

    def write(self, data: Raw) -> None:
        """Write `data`, at most `size` bytes. Raise INVALID_ARG if the file has become shorter, UNAVAILABLE if it
        cannot hold the data."""
        self.check()
        view = memoryview(data)
        done, start = 0, self.region.offset + self.offset
        try:
            while done < len(view):
                done += os.pwrite(self.region.descriptor, view[done : done + _AT_A_TIME], start + done)
        except OSError as error:  # its pages do not exist before they are written, and memory may be full
            raise self._failed("write to", error) from None

    def exists(self) -> bool:
        """Return whether the file is still long enough."""
        end = self.region.offset + self.offset + self.size
        return os.fstat(self.region.descriptor).st_size >= end

    def check(self) -> None:
        """Raise INVALID_ARG if the file has become shorter than when it was registered: a write would extend it."""
        if not self.exists():
            raise self._shortened()

    def _failed(self, action: str, error: OSError) -> SlipwayError:
        return unavailable(f"cannot {action} shared memory region '{shown(self.region.name)}': {error.strerror}")

    def _shortened(self) -> SlipwayError:
        return invalid(f"shared memory region '{shown(self.region.name)}' is shorter than when it was registered")
