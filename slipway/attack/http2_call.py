"""One gRPC call in raw HTTP/2 that respects the server's flow control (RFC 9113, section 5.2), so that a message that
libraries would not send arrives whole."""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from slipway.attack import http2
from slipway.attack.transport import Connection

_INITIAL: Final = 65_535
_FRAME: Final = 16_384
_STREAM: Final = 1
_ACK: Final = 1
_INITIAL_WINDOW_SIZE: Final = 4  # of SETTINGS
_WINDOW_UPDATE: Final = 8


class Windows:
    """How much more the server takes, on the connection and on the only stream; and the kinds of frames that came."""

    def __init__(self) -> None:
        self.kinds: set[int] = set()
        self.unacknowledged = False  # settings came
        self._connection = _INITIAL
        self._stream = _INITIAL
        self._initial = _INITIAL
        self._rest = b""

    @property
    def room(self) -> int:
        """The bytes that may be sent now."""
        return min(self._connection, self._stream, _FRAME)

    @property
    def is_over(self) -> bool:
        """Whether the server has answered or refused the call."""
        return bool(self.kinds & {http2.HEADERS, http2.RST_STREAM, http2.GOAWAY})

    def sent(self, size: int) -> None:
        """Note that `size` bytes of data were sent."""
        self._connection -= size
        self._stream -= size

    def received(self, data: bytes) -> None:
        """Take in what the server sent."""
        data = self._rest + data
        at = 0
        while at + 9 <= len(data) and at + 9 + int.from_bytes(data[at : at + 3]) <= len(data):
            size = int.from_bytes(data[at : at + 3])
            kind, flags, stream = struct.unpack_from(">BBI", data, at + 3)
            self._take(kind, flags, stream, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.kinds.add(kind)
        if kind == _WINDOW_UPDATE:
            more = int.from_bytes(payload) & 0x7FFFFFFF
            if stream == 0:
                self._connection += more
            else:
                self._stream += more
        elif kind == http2.SETTINGS and not flags & _ACK:
            self.unacknowledged = True
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _INITIAL_WINDOW_SIZE:
                    self._stream += value - self._initial
                    self._initial = value


async def call(connection: Connection, block: bytes, message: bytes, *, patience_s: float) -> str:
    """Send a message with the header `block`; return what is wrong, "" if the server answers or refuses it.

    `message` has its prefix of five bytes.
    """
    windows = Windows()
    await connection.send(http2.opening() + http2.frame(http2.HEADERS, http2.END_HEADERS, _STREAM, block))
    at = 0
    while at < len(message) and not windows.is_over:
        room = windows.room
        if room > 0:
            part = message[at : at + room]
            end = http2.END_STREAM if at + len(part) == len(message) else 0
            if not await connection.send(http2.frame(http2.DATA, end, _STREAM, part)):
                return ""
            windows.sent(len(part))
            at += len(part)
        elif not await _read(connection, windows, patience_s):
            return ""
    while not windows.is_over:
        try:
            if not await _read(connection, windows, patience_s):
                return ""
        except TimeoutError:
            return f"neither a response nor the end of the call within {patience_s:g} s"
    return ""


async def _read(connection: Connection, windows: Windows, patience_s: float) -> bool:
    """Read what the server sends; return False once it has closed the connection."""
    part = await asyncio.wait_for(connection.read(), patience_s)
    windows.received(part)
    if windows.unacknowledged:  # until then, the server may enforce its earlier settings
        windows.unacknowledged = False
        await connection.send(http2.frame(http2.SETTINGS, _ACK, 0))
    return bool(part)
