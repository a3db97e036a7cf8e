"""Frames between the server and a child process: a message and the tensors that belong to it.

On a Unix stream socket: lengths, the message, and small tensors behind it. Large tensors travel in a piece of anonymous
shared memory (memfd) whose descriptor rides along; each side maps it, and the memory goes when the last view goes, so
nothing has to be given back and /dev/shm is not used. Pure but for the memory itself: `FrameReader` is fed bytes.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.core.tensor import Raw

_HEAD: Final = struct.Struct("<IQ?")  # bytes of the message, bytes of the tensors, whether those are shared memory
SHARED_FROM: Final = 64 << 10  # bytes: a copy through the socket is cheaper below (memfd, two maps: about 40 us)
MAX_FRAME: Final = 1 << 40
RECEIVE: Final = 256 << 10
_DESCRIPTORS: Final = socket.CMSG_SPACE(16 * 4)


@dataclass(slots=True)
class Frame:
    """A received frame: the message, and the bytes of its tensors one after the other (writable)."""

    message: memoryview
    blob: memoryview


class FrameReader:
    """Cuts a stream into frames, however it is split; descriptors are taken in the order they came."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()
        self._buffer = bytearray(RECEIVE)  # one for all reads: a fresh one costs its zeros, 10 us

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
            message_size, blob_size, shared = _HEAD.unpack_from(view, start)
            body = start + _HEAD.size
            inline = 0 if shared else blob_size
            if end - body < message_size + inline:
                break
            start = body + message_size + inline
            blob = self._map(blob_size) if shared else view[body + message_size : start]
            frames.append(Frame(view[body : body + message_size], blob))
        if start < end or self._rest:
            self._rest = bytearray(view[start:])
        return frames

    def _map(self, size: int) -> memoryview:
        descriptor = self._descriptors.popleft()
        try:
            return memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close descriptors whose frame never came."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


@dataclass(slots=True)
class Packed:
    """A frame ready to be sent: its bytes, and the descriptor of its shared memory (-1: none), owned by this."""

    data: bytes
    descriptor: int = -1

    def close(self) -> None:
        """Give the descriptor back; the receiver has its own."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def pack(message: bytes, blobs: Sequence[Raw] = ()) -> Packed:
    """Return the frame of a message and its tensors. Raise OSError when there is no memory for large tensors."""
    if not blobs:
        return Packed(_HEAD.pack(len(message), 0, False) + message)
    size = sum(map(len, blobs))
    if size < SHARED_FROM:
        return Packed(b"".join((_HEAD.pack(len(message), size, False), message, *blobs)))
    descriptor = os.memfd_create("slipway-tensors", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        with mmap.mmap(descriptor, size) as memory:
            offset = 0
            for blob in blobs:
                memory[offset : offset + len(blob)] = blob
                offset += len(blob)
    except BaseException:
        os.close(descriptor)
        raise
    return Packed(_HEAD.pack(len(message), size, True) + message, descriptor)
