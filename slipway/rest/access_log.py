"""The access log: one line per answered HTTP request, with client, method, path, status, bytes and duration.

    HTTP "127.0.0.1:50312" "POST" "/v2/models/simple/infer" 200 143 bytes 412 us

Never a query, a header or a body. Without `--log-access`, none of this runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from time import monotonic_ns
from typing import Final

from slipway.errors import shown
from slipway.rest.connection import Handler
from slipway.rest.exchange import Channel, Exchange

_LOG: Final = logging.getLogger("slipway.access")
_STATUS: Final = slice(9, 12)  # of "HTTP/1.1 200 OK"
_NS_PER_US: Final = 1000


class LoggedChannel:
    """Passes a response on, and logs it at its end. Implements `exchange.Channel`."""

    __slots__ = ("_began_ns", "_channel", "_size", "_status")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._began_ns = monotonic_ns()
        self._status = b""
        self._size = 0

    def decide_to_close(self, exchange: Exchange) -> bool:
        """Pass the question on."""
        return self._channel.decide_to_close(exchange)

    def peer(self) -> object:
        """Pass the question on."""
        return self._channel.peer()

    def hold(self, size: int) -> bool:
        """Pass the question on."""
        return self._channel.hold(size)

    def bound(self, exchange: Exchange, waiting: int) -> None:
        """Pass the order on."""
        self._channel.bound(exchange, waiting)

    async def drained(self) -> None:
        """Wait for the channel."""
        await self._channel.drained()

    def cut(self, exchange: Exchange) -> None:
        """Pass the order on."""
        self._channel.cut(exchange)

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Write a part of a streamed response."""
        self._count((data,))
        self._channel.send(exchange, data)

    def finish(self, exchange: Exchange, parts: Iterable[bytes | memoryview], *, close: bool = False) -> None:
        """Write the (rest of the) response, and log it."""
        parts = tuple(parts)
        self._count(parts)
        self._channel.finish(exchange, parts, close=close)
        microseconds = (monotonic_ns() - self._began_ns) // _NS_PER_US
        fields = {
            "client": _address(self._channel.peer()),
            "method": exchange.method.decode("latin-1"),
            "path": shown(exchange.path.decode("latin-1")),
            "status": int(self._status or 0),
            "bytes": self._size,
            "us": microseconds,
        }
        quoted = [json.dumps(fields[name]) for name in ("client", "method", "path")]
        _LOG.info(
            "HTTP %s %s %s %d %d bytes %d us",
            *quoted, fields["status"], self._size, microseconds, extra={"fields": fields},
        )  # fmt: skip

    def _count(self, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            if not self._status:
                self._status = bytes(part[_STATUS])
            self._size += len(part)


def log_accesses(handler: Handler) -> Handler:
    """Return the handler that logs what `handler` answers."""

    def handle(exchange: Exchange) -> None:
        exchange.channel = LoggedChannel(exchange.channel)
        handler(exchange)

    return handle


def _address(peer: object) -> str:
    """Return the address of a socket as text: host and port, without the fields that only IPv6 has."""
    if not isinstance(peer, tuple):
        return ""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
