"""Frames between the server and a child process: a message and the tensors that belong to it.

On a Unix stream socket: a head, the message, and small tensors behind it. Large tensors travel in shared memory; the
descriptor of a piece rides along when it is used first. Knows no message; `feed` is fed bytes, however they are split.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.backends.python.process.shared_memory import AVAILABLE, Borrower, Lender
from slipway.core.tensor import Raw

_HEAD: Final = struct.Struct("<IQI")  # bytes of the message, bytes of the tensors, number of the shared piece
_INLINE: Final = 0  # the tensors follow the message
_RETURNED: Final = 0xFFFF_FFFF  # no frame: the "message" is the numbers of pieces that are given back
SHARED_FROM: Final = 32 << 10  # bytes: measured, below it the copies through the socket cost less than lending does
RECEIVE: Final = 256 << 10
_DESCRIPTORS: Final = socket.CMSG_SPACE(16 * 4)


@dataclass(slots=True)
class Frame:
    """A received frame: the message, and the bytes of its tensors one after the other (writable)."""

    message: memoryview
    blob: memoryview


@dataclass(slots=True)
class Packed:
    """A frame ready to be sent: its bytes, and the descriptor that goes with them (-1: none), owned by this."""

    data: bytes
    descriptor: int = -1

    def close(self) -> None:
        """Give the descriptor back; the receiver has its own."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Frames:
    """One end of a link. `pack` may be called from any thread, the rest from the one that reads."""

    def __init__(self) -> None:
        self._lender = Lender()
        self._borrower = Borrower()
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()
        self._buffer = bytearray(RECEIVE)  # one for all reads: a fresh one costs its zeros, 10 us

    def pack(self, message: bytes, blobs: Sequence[Raw] = ()) -> Packed:
        """Return the frame of a message and its tensors. Raise OSError when there is no memory for large tensors."""
        returned = self._returned() if self._borrower.returned else b""
        size = sum(map(len, blobs))
        if size < SHARED_FROM or not AVAILABLE:
            return Packed(b"".join((returned, _HEAD.pack(len(message), size, _INLINE), message, *blobs)))
        number, descriptor = self._lender.lend(blobs, size)
        return Packed(b"".join((returned, _HEAD.pack(len(message), size, number), message)), descriptor)

    def _returned(self) -> bytes:
        returned = self._borrower.returned
        numbers = [returned.popleft() for _ in range(len(returned))]
        return _HEAD.pack(4 * len(numbers), 0, _RETURNED) + struct.pack(f"<{len(numbers)}I", *numbers)

    def receive(self, connection: socket.socket) -> list[Frame] | None:
        """Read once and return the frames that are complete; None at the end of the stream. Raise OSError."""
        size, ancillary, _, _ = connection.recvmsg_into([self._buffer], _DESCRIPTORS)
        if size == 0:
            return None
        descriptors: list[int] = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.extend(memoryview(data).cast("i"))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return self.feed(self._buffer[:size], descriptors)

    def feed(self, data: bytearray, descriptors: Sequence[int] = ()) -> list[Frame]:
        """Return the frames that are complete with `data`, which is taken over."""
        self._descriptors.extend(descriptors)
        if self._rest:
            self._rest += data
            data = self._rest
        frames: list[Frame] = []
        view = memoryview(data)
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            message_size, blob_size, number = _HEAD.unpack_from(view, start)
            body = start + _HEAD.size
            behind = body + message_size
            stop = behind + blob_size if number == _INLINE else behind
            if end < stop:
                break
            start = stop
            message = view[body:behind]
            if number == _RETURNED:
                self._lender.take_back(message.cast("I"))
            else:
                frames.append(
                    Frame(message, view[behind:stop] if number == _INLINE else self._shared(number, blob_size))
                )
        if start < end or self._rest:
            self._rest = bytearray(view[start:])
        return frames

    def _shared(self, number: int, size: int) -> memoryview:
        if not self._borrower.knows(number):
            self._borrower.adopt(number, self._descriptors.popleft())
        return self._borrower.view(number, size)

    def close(self) -> None:
        """Close descriptors whose frame never came."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
