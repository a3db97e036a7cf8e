"""Frames between the server and a child process: a message and the tensors that belong to it.

On a Unix stream socket: a header, the message, then small tensors. Large tensors travel in shared memory; the
descriptor of a piece is sent along with its first use. Knows no message; `feed` accepts bytes split at any point, and
recognises bytes that are not frames, such as those of a model that writes to a descriptor that is not its own.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from slipway.backends.python.process.shared_memory import AVAILABLE, Borrower, Lender
from slipway.core.tensor import Raw

# Mark, bytes of the message and of the tensors, where the tensors begin in the shared piece, and its number.
_HEAD: Final = struct.Struct("<IIQQI")
_MARK: Final = 0xA7F3_5E91
_INLINE: Final = 0  # the tensors follow the message
_RETURNED: Final = 0xFFFF_FFFF  # not a frame: the "message" is the numbers of the pieces that are returned
SHARED_FROM: Final = 32 << 10  # bytes; measured: below this, copying through the socket costs less than lending
RECEIVE: Final = 256 << 10
_DESCRIPTORS: Final = socket.CMSG_SPACE(16 * 4)


class LinkError(Exception):
    """The other end sent something that is not a frame, or not a message that belongs there."""


@dataclass(slots=True)
class Frame:
    """A received frame: the message, and the bytes of its tensors one after another (writable)."""

    message: memoryview
    blob: memoryview


@dataclass(slots=True)
class Packed:
    """A frame ready to send: its bytes, and the descriptor that goes with them (-1: none), which it owns."""

    data: bytes
    descriptor: int = -1

    def close(self) -> None:
        """Close the descriptor; the receiver has its own."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Frames:
    """One end of a link. `pack` may be called from any thread, the other methods only from the reading thread."""

    def __init__(self) -> None:
        self._lender = Lender()
        self._borrower = Borrower()
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()
        self._buffer = bytearray(RECEIVE)  # reused by all reads: zeroing a new one takes 10 us

    def pack(self, message: bytes, blobs: Sequence[Raw] = ()) -> Packed:
        """Return the frame of a message and its tensors. Raise OSError when large tensors do not fit into memory."""
        returned = self.pack_returned()
        size = sum(map(len, blobs))
        if size < SHARED_FROM or not AVAILABLE:
            return Packed(b"".join((returned, _HEAD.pack(_MARK, len(message), size, 0, _INLINE), message, *blobs)))
        loan = self._lender.lend(blobs, size)
        head = _HEAD.pack(_MARK, len(message), size, loan.offset, loan.number)
        return Packed(b"".join((returned, head, message)), loan.descriptor)

    @property
    def owes_request(self) -> bool:
        """Whether a piece of one use, which is a whole request of the lender, is to be returned."""
        return self._borrower.owes_once

    def pack_returned(self) -> bytes:
        """Return the frame that returns the pieces no longer in use, b"" if there are none. Thread-safe."""
        returned = self._borrower.returned
        if not returned:
            return b""
        self._borrower.owes_once = False
        numbers = []
        with suppress(IndexError):  # empty, perhaps because another thread was faster
            while True:
                numbers.append(returned.popleft())
        return _HEAD.pack(_MARK, 4 * len(numbers), 0, 0, _RETURNED) + struct.pack(f"<{len(numbers)}I", *numbers)

    def receive(self, connection: socket.socket) -> list[Frame] | None:
        """Read once and return the complete frames; None at the end of the stream. Raise OSError or `LinkError`."""
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
        """Return the frames that `data` completes; takes ownership of `data`. Raise `LinkError`."""
        self._descriptors.extend(descriptors)
        if self._rest:
            self._rest += data
            data = self._rest
        frames: list[Frame] = []
        view = memoryview(data)
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            mark, message_size, blob_size, offset, number = _HEAD.unpack_from(view, start)
            if mark != _MARK:
                raise LinkError("it contains bytes that are not a message")
            body = start + _HEAD.size
            behind = body + message_size
            stop = behind + blob_size if number == _INLINE else behind
            if end < stop:
                break
            start = stop
            message = view[body:behind]
            if number == _RETURNED:
                self._take_back(message)
            else:
                blob = view[behind:stop] if number == _INLINE else self._shared(number, offset, blob_size)
                frames.append(Frame(message, blob))
        if start < end or self._rest:
            self._rest = bytearray(view[start:])
        return frames

    def _take_back(self, numbers: memoryview) -> None:
        try:
            self._lender.take_back(numbers.cast("I"))
        except (TypeError, KeyError):
            raise LinkError("it returns shared memory that it does not have") from None

    def _shared(self, number: int, offset: int, size: int) -> memoryview:
        try:
            if not self._borrower.knows(number):
                self._borrower.adopt(number, self._descriptors.popleft())
            return self._borrower.view(number, offset, size)
        except (IndexError, ValueError, OSError):
            raise LinkError("it names shared memory that was not lent") from None

    def close(self) -> None:
        """Close the descriptors whose frames never arrived."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
