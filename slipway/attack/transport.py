"""Raw connections to the server under attack: bytes out, bytes in, at the pace that an attack wants.

asyncio over plain sockets, because a client that does not read, sends single bytes or resets is what is needed, and
libraries prevent exactly that. What is received is kept up to a limit and counted beyond it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from slipway.attack.bounds import MIB, Allowance
from slipway.attack.loopback import LoopbackAddress

_PIECE: Final = 64 << 10
_SENT_AHEAD: Final = 256 << 10  # that the kernel may hold of what was sent
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([2-5][0-9][0-9]) ")  # 100 Continue is not a response
_GONE: Final = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


@dataclass(frozen=True, slots=True)
class ReceivedBytes:
    """What came back on a connection."""

    data: bytes
    closed: bool  # by the server
    sent: int = 0  # bytes that were sent before it was closed or silent

    @property
    def statuses(self) -> list[int]:
        """The status of every HTTP response."""
        return statuses(self.data)


def statuses(responses: bytes) -> list[int]:
    """Return the status of every HTTP response; interim ones do not count."""
    return [int(status) for status in _STATUS.findall(responses)]


class Connection:
    """One connection to the server."""

    def __init__(self, sock: socket.socket, allowance: Allowance) -> None:
        self._socket = sock
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self.sent = 0

    async def send(self, data: bytes) -> bool:
        """Send everything; return False if the server has closed the connection."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            self._allowance.spend(len(piece))
            try:
                await self._loop.sock_sendall(self._socket, piece)
            except _GONE:
                return False
            self.sent += len(piece)
        return True

    async def send_singly(self, data: bytes) -> bool:
        """Send byte by byte, each in a packet of its own, as far as the server reads."""
        for at in range(len(data)):
            if not await self.send(data[at : at + 1]):
                return False
            await asyncio.sleep(0)
        return True

    async def read(self, size: int = _PIECE) -> bytes:
        """Return what has come, b"" once the server has closed or reset the connection."""
        try:
            return await self._loop.sock_recv(self._socket, size)
        except _GONE:
            return b""

    async def exchange(self, data: bytes, *, silence_s: float = 1.0, singly: bool = False) -> ReceivedBytes:
        """Send `data` while reading, until the server closes the connection or nothing moves for `silence_s`."""
        return await self._during(self.send_singly(data) if singly else self.send(data), silence_s)

    async def pour(
        self,
        opening: bytes,
        filling: bytes,
        size: int,
        *,
        silence_s: float = 2.0,
        seconds: float = 10.0,
        until: Callable[[bytes], object] = statuses,
    ) -> ReceivedBytes:
        """Send `opening` and then `filling` again and again up to `size` bytes, `until` what came is a response, or the
        server closes, or nothing moves for `silence_s`; `sent` is `size` or more if it read on for all of `seconds`."""

        async def sending() -> bool:
            if not await self.send(opening):
                return False
            deadline = self._loop.time() + seconds
            while self.sent < size:
                if not await self.send(filling):
                    return False
                if self._loop.time() > deadline:
                    self.sent = max(self.sent, size)
            return True

        return await self._during(sending(), silence_s, until)

    async def _during(
        self, sending: Coroutine[None, None, bool], silence_s: float, until: Callable[[bytes], object] | None = None
    ) -> ReceivedBytes:
        sender = asyncio.ensure_future(sending)
        kept, closed, before = bytearray(), False, -1
        try:
            while True:
                try:
                    part = await asyncio.wait_for(self.read(), silence_s)
                except TimeoutError:
                    if sender.done() or self.sent == before:
                        break
                    before = self.sent
                    continue
                if not part:
                    closed = True
                    break
                kept += part[: MIB - len(kept)] if len(kept) < MIB else b""
                if until is not None and until(bytes(kept)):
                    break
            if sender.done():
                sender.result()  # raises what ended it
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return ReceivedBytes(bytes(kept), closed, self.sent)

    def reset(self) -> None:
        """Close the connection with a reset instead of an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Dialler:
    """Opens connections to one address within an allowance."""

    def __init__(self, address: LoopbackAddress, allowance: Allowance) -> None:
        self.address = address
        self.allowance = allowance

    @asynccontextmanager
    async def connection(self, *, unread: int = 0) -> AsyncIterator[Connection]:
        """Yield a fresh connection; `unread` is the receive buffer in bytes of a client that does not read."""
        async with self.allowance.connections:
            sock = socket.socket(self.address.family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AHEAD)
                if unread:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, (self.address.ip, self.address.port))
                yield Connection(sock, self.allowance)
            finally:
                sock.close()
