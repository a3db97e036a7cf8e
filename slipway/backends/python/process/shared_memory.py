"""Pieces of anonymous shared memory, which one end of a link lends to the other and then reuses.

Fresh memory costs a page fault per 4 KiB, far more than the copy itself (measured for 4 MiB: 5.6 ms fresh, 0.4 ms
reused), so the lender keeps the pieces that the borrower returns. A borrower returns a piece when its last view of it
is gone. No piece has a name that could stay behind. Tensors that came in shared memory (`core.shared_bytes`) are lent
where they are, for one use; the borrower's writes stay its own. Knows neither frames nor messages.
"""

from __future__ import annotations

import mmap
import os
import socket
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np

from slipway.core.anonymous_file import anonymous_file
from slipway.core.shared_bytes import SharedBytes, whole_place
from slipway.core.tensor import Raw

AVAILABLE: Final = hasattr(socket, "send_fds")
_ONE_USE: Final = 1 << 30  # added to the numbers of pieces that are not reused
KEPT: Final = 64 << 20  # bytes that wait for their next use with their pages; those of other free pieces are given up


@dataclass(slots=True, eq=False)
class Segment:
    """One piece. `descriptor` is sent to the borrower with the first use, and is -1 afterwards."""

    number: int
    memory: mmap.mmap
    descriptor: int
    has_pages: bool = True


@dataclass(frozen=True, slots=True)
class Loan:
    """A piece that was lent: its number, where the tensors begin in it, and a descriptor that the caller owns, or -1 if
    the borrower already has the piece."""

    number: int
    offset: int
    descriptor: int


class Lender:
    """Writes tensors into pieces. Thread-safe."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[Segment]] = defaultdict(list)  # by size
        self._lent: dict[int, Segment] = {}
        self._lent_once: dict[int, SharedBytes] = {}
        self._kept = 0
        self._last = 0
        self._last_once = 0
        self._lock = Lock()

    def lend(self, blobs: Sequence[Raw], size: int) -> Loan:
        """Lend `blobs`, `size` bytes in all, where they are or copied into a piece. Raise OSError if memory is out."""
        place = whole_place(blobs)
        if place is not None:
            return self._lend_once(*place)
        segment = self._take(1 << (size - 1).bit_length())
        descriptor, segment.descriptor = segment.descriptor, -1
        offset = 0
        for blob in blobs:
            end = offset + len(blob)
            segment.memory[offset:end] = blob
            offset = end
        return Loan(segment.number, 0, descriptor)

    def _lend_once(self, shared: SharedBytes, offset: int) -> Loan:
        descriptor = os.dup(shared.descriptor)
        with self._lock:
            self._last_once = (self._last_once + 1) % _ONE_USE
            number = self._last_once | _ONE_USE
            self._lent_once[number] = shared
        return Loan(number, offset, descriptor)

    def _take(self, capacity: int) -> Segment:
        with self._lock:
            free = self._free[capacity]
            segment = free.pop() if free else self._make(capacity)
            if segment.descriptor < 0 and segment.has_pages:
                self._kept -= capacity
            segment.has_pages = True
            self._lent[segment.number] = segment
            return segment

    def _make(self, capacity: int) -> Segment:
        descriptor = anonymous_file(capacity)
        try:
            memory = mmap.mmap(descriptor, capacity)
        except BaseException:
            os.close(descriptor)
            raise
        self._last += 1
        return Segment(self._last, memory, descriptor)

    def take_back(self, numbers: Iterable[int]) -> None:
        """Take back the pieces that the borrower has returned."""
        with self._lock:
            for number in numbers:
                if number & _ONE_USE:
                    del self._lent_once[number]
                    continue
                segment = self._lent.pop(number)
                capacity = len(segment.memory)
                if self._kept + capacity <= KEPT:
                    self._kept += capacity
                else:
                    _give_up_pages(segment.memory)
                    segment.has_pages = False
                self._free[capacity].append(segment)


def _give_up_pages(memory: mmap.mmap) -> None:
    """Return a free piece's memory to the system. A file keeps its room: once lost, a full disk could not give it back,
    and the write that finds out kills the process."""
    if hasattr(os, "memfd_create"):
        memory.madvise(mmap.MADV_REMOVE)


class _Use(weakref.ref[np.ndarray]):
    """Notices when the last view of a piece is gone."""

    __slots__ = ("number",)
    number: int


class Borrower:
    """Makes views of the other end's pieces; `returned` are the numbers of pieces to return to the lender."""

    def __init__(self) -> None:
        self._memories: dict[int, mmap.mmap] = {}
        self._uses: dict[int, _Use] = {}
        self.returned: deque[int] = deque()
        self.owes_once = False  # a piece of one use is among them

    def knows(self, number: int) -> bool:
        """Return whether a piece has been received before."""
        return number in self._memories

    def adopt(self, number: int, descriptor: int) -> None:
        """Map a piece that is received for the first time, and close the descriptor."""
        access = mmap.ACCESS_COPY if number & _ONE_USE else mmap.ACCESS_WRITE
        try:
            self._memories[number] = mmap.mmap(descriptor, os.fstat(descriptor).st_size, access=access)
        finally:
            os.close(descriptor)

    def view(self, number: int, offset: int, size: int) -> memoryview:
        """Return `size` bytes of a piece, writable; the piece is returned when no view of them is left."""
        array = np.frombuffer(self._memories[number], np.uint8, size, offset)
        use = self._uses[number] = _Use(array, self._ended)
        use.number = number
        return array.data

    def _ended(self, use: weakref.ref[np.ndarray]) -> None:
        number = use.number  # type: ignore[attr-defined]
        del self._uses[number]
        if number & _ONE_USE:
            del self._memories[number]
        self.returned.append(number)
        if number & _ONE_USE:
            self.owes_once = True
