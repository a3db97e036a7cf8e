"""gRPC messages in the data of a call: five bytes of flag and length, then the message, compressed or not.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and compression.md. Pure.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from slipway.rpc.status import RESOURCE_EXHAUSTED

PREFIX: Final = struct.Struct(">BI")
PREFIX_SIZE: Final = PREFIX.size
_INTERNAL: Final = 13
_UNIMPLEMENTED: Final = 12
_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}  # of zlib: a gzip header, a zlib header
_PIECE: Final = 1 << 20
_SMALL: Final = 1024  # bytes of a part


class CallRefusedError(Exception):
    """The call ends with this gRPC status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class MessageReader:
    """Puts the messages of one call together; `wanted` is the size of the one that arrives, once it is known."""

    __slots__ = ("_limit", "_parts", "_size", "is_compressed", "wanted")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes | bytearray] = []
        self._size = 0  # bytes in the parts
        self.wanted = -1
        self.is_compressed = False

    @property
    def is_between(self) -> bool:
        """Whether no message has begun."""
        return not self._parts and self.wanted < 0

    def feed(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Return the next message, if `data` completes it, and the rest of `data`, to be fed again after the message.
        Raise `CallRefusedError` for one that is too large."""
        if self.wanted < 0:
            if self._size:
                data = b"".join((*self._parts, data))
                self._parts.clear()
                self._size = 0
            if len(data) < PREFIX_SIZE:
                if data:
                    self._parts.append(data)
                    self._size = len(data)
                return None, b""
            flag, wanted = PREFIX.unpack_from(data)
            if flag > 1:
                raise CallRefusedError(_INTERNAL, f"a message has the unknown flag {flag}")
            if wanted > self._limit:
                raise too_large(wanted, self._limit)
            self.is_compressed = bool(flag)
            end = PREFIX_SIZE + wanted
            if len(data) >= end:
                return data[PREFIX_SIZE:end], data[end:]
            self.wanted = wanted
            data = data[PREFIX_SIZE:]
        missing = self.wanted - self._size
        if len(data) < missing:
            self._keep(data)
            return None, b""
        message = b"".join((*self._parts, data[:missing]))
        self._parts.clear()
        self._size, self.wanted = 0, -1
        return message, data[missing:]

    def _keep(self, data: bytes) -> None:
        """Keep a part; small ones are put together, because an object for each takes far more than they have."""
        self._size += len(data)
        last = self._parts[-1] if self._parts else None
        if len(data) >= _SMALL:
            self._parts.append(data)
        elif isinstance(last, bytearray):
            last += data
        elif data:
            self._parts.append(bytearray(data))


def too_large(size: int, limit: int) -> CallRefusedError:
    """Return the refusal of a message that is too large."""
    return CallRefusedError(RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {limit})")


def check_coding(coding: str) -> None:
    """Raise `CallRefusedError` (UNIMPLEMENTED) for a compression that is unknown."""
    if coding != "identity" and coding not in _WINDOW_BITS:
        raise CallRefusedError(_UNIMPLEMENTED, f"Compression algorithm '{coding[:64]}' is not supported.")


def inflated(message: bytes, coding: str, limit: int) -> bytes:
    """Return what a compressed message contains; raise `CallRefusedError` if it cannot be read or is too large.

    It is unfolded in pieces, so that a thread that does it lets others run.
    """
    if coding not in _WINDOW_BITS:
        raise CallRefusedError(_INTERNAL, "a message is compressed, and grpc-encoding does not say how")
    inflater = zlib.decompressobj(_WINDOW_BITS[coding])
    parts: list[bytes] = []
    size = 0
    try:
        while not inflater.eof:
            part = inflater.decompress(message, _PIECE)
            message = inflater.unconsumed_tail
            size += len(part)
            if size > limit:
                raise too_large(size, limit)
            if not part and not message and not inflater.eof:
                break
            parts.append(part)
    except zlib.error:
        raise CallRefusedError(_INTERNAL, "a message cannot be decompressed") from None
    if not inflater.eof or inflater.unused_data:
        raise CallRefusedError(_INTERNAL, "a message cannot be decompressed")
    return b"".join(parts)
