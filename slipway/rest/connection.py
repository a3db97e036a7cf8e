"""One HTTP/1.1 connection: bytes to `Exchange`s and back, in order, within limits. Knows no routes and no models.

httptools parses; everything that could grow without end is bounded here (head, header count, chunks, body, time).
Requests of one connection are answered one at a time: while one is in work, pipelined ones wait. Reading pauses when
many or large ones do, not before: it is reading that tells whether the client is still there.
A client that repeats itself sends the same head, byte for byte, with each request; such a head is not parsed again.
After a refusal the connection lingers: the answer and end-of-file are sent, input is read and dropped, so a client in
the middle of a large upload still gets to see why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final

import httptools

from slipway.errors import SlipwayError, invalid
from slipway.rest.exchange import JSON, Exchange
from slipway.rest.status import HTTP_STATUS, STATUS_LINE, error_body
from slipway.wire.compression import input_too_large

Handler = Callable[[Exchange], None]

_CLOSE: Final = b"Connection: close\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_SMALL: Final = 64 << 10  # bytes of a request: its head is worth remembering, its body may wait in memory
_MAX_WAITING: Final = 32  # pipelined requests
_VERSIONS: Final = ("1.1", "1.0")
_FRAMING: Final = (b"transfer-encoding", b"upgrade", b"expect")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask for; sizes in bytes, times in seconds."""

    body: int = 64 << 20
    head: int = 64 << 10
    headers: int = 256
    repeated_headers: int = 32
    chunks: int = 65536
    head_s: float = 30.0  # from the first byte of a request to the end of its headers
    body_s: float = 60.0  # without a byte of the body
    idle_s: float = 600.0  # between requests: client pools keep connections for minutes
    linger_s: float = 10.0  # after a refusal
    unsent: int = 64 << 20  # of a streamed answer the client does not read


class Phase(Enum):
    """What of a request is being received."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class HttpConnection(asyncio.Protocol):
    """Parses requests and hands them to `handler`, one at a time."""

    __slots__ = (
        "_body",
        "_body_size",
        "_chunked_bytes",
        "_chunks",
        "_connections",
        "_current",
        "_handler",
        "_head",
        "_head_bytes",
        "_headers",
        "_is_unread",
        "_keep_alive",
        "_limits",
        "_mark",
        "_messages",
        "_method",
        "_parser",
        "_path",
        "_phase",
        "_refused",
        "_repeated",
        "_repeated_size",
        "_still_s",
        "_stopping",
        "_swept_mark",
        "_transport",
        "_url",
        "_version",
        "_waiting",
    )

    def __init__(self, handler: Handler, limits: Limits, connections: set[HttpConnection]) -> None:
        self._handler = handler
        self._limits = limits
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._current: Exchange | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._keep_alive = True
        self._version = "1.1"
        self._stopping = False
        self._is_unread = False  # the client leaves answers in the socket
        self._refused = False  # what still comes is dropped
        self._mark = 0  # changes with every progress but that of a head
        self._swept_mark = -1
        self._still_s = 0.0
        self._head = b""  # of the request before this one, which `_method`, `_path` and `_headers` tell
        self._repeated_size = -1  # bytes of that request; -1 when its head must not be taken for the next one's
        self._messages = 0  # in the data that came last
        self._method = self._path = b""
        self._body_size = 0
        self.on_message_begin()
        self._phase = Phase.IDLE

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio's TCP transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Tell the one who works for this client."""
        self._connections.discard(self)
        self._refused = True
        self._waiting.clear()
        self._parser = None  # type: ignore[assignment]  # it refers back to this connection; no data comes any more
        current, self._current = self._current, None
        if current is not None:
            current.disconnected()

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what is not HTTP or has too large a head."""
        if self._refused:
            return
        phase = self._phase
        if len(data) == self._repeated_size and self._is_free() and data.startswith(self._head):
            exchange = Exchange(self, self._method, self._path, self._headers, data[len(self._head) :])
            self._start(exchange, self._keep_alive, self._version)
            return
        self._repeated_size = -1
        self._messages = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed HTTP request: {error}")
        if phase is Phase.HEAD and self._phase is Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head:
                self._refuse(431, f"the request head exceeds {self._limits.head} bytes")
        elif phase is Phase.IDLE and self._phase is Phase.IDLE and not self._refused:
            self._remember_head(data)

    def pause_writing(self) -> None:
        """Read no further requests while the client does not read its answers."""
        self._is_unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_unread = False
        if not self._waiting:
            self._transport.resume_reading()

    # parser

    def on_message_begin(self) -> None:
        """Start a request."""
        self._phase = Phase.HEAD
        self._mark += 1
        self._head_bytes = self._repeated = self._chunks = self._chunked_bytes = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; the values of a repeated one are joined by commas (RFC 9110, 5.3)."""
        name = name.lower()
        if name in self._headers:
            self._repeated += 1
            if self._repeated > self._limits.repeated_headers:
                self._refuse(431, f"more than {self._limits.repeated_headers} repeated headers")
                return
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Judge the head before any of the body is read."""
        self._phase = Phase.BODY
        self._mark += 1
        headers = self._headers
        if self._parser.get_http_version() not in _VERSIONS:
            self._refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
            return
        if len(headers) > self._limits.headers:
            self._refuse(431, f"more than {self._limits.headers} headers")
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body:
            self._refuse_with(input_too_large(int(length), self._limits.body))
        elif b"expect" in headers and self._is_free() and not self._refused:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body; a body in one part is kept as it came."""
        if self._refused:
            return
        self._mark += 1
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > self._limits.body:
            self._refuse_with(input_too_large(f"more than {self._limits.body}", self._limits.body))

    def on_chunk_complete(self) -> None:
        """Count the chunks that hold something."""
        size = len(self._body)
        if size > self._chunked_bytes:
            self._chunked_bytes = size
            self._chunks += 1
            if self._chunks > self._limits.chunks:
                self._refuse_with(invalid(f"request body exceeds maximum of {self._limits.chunks} non-empty chunks"))

    def on_message_complete(self) -> None:
        """Hand the request over, or queue it behind the one in work."""
        if self._refused:
            return
        self._phase = Phase.IDLE
        parser = self._parser
        self._method = parser.get_method()
        self._path = self._url.partition(b"?")[0]
        exchange = Exchange(self, self._method, self._path, self._headers, self._body)
        self._messages += 1
        self._body_size = len(self._body)
        self._body = b""
        if self._is_free():
            self._start(exchange, parser.should_keep_alive(), parser.get_http_version())
            return
        self._waiting.append(partial(self._start, exchange, parser.should_keep_alive(), parser.get_http_version()))
        if len(self._waiting) >= _MAX_WAITING or self._body_size > _SMALL:
            self._transport.pause_reading()

    def _is_free(self) -> bool:
        return self._current is None and not self._waiting

    def _remember_head(self, data: bytes) -> None:
        """Keep the head of `data` if it was one whole request whose framing its head alone decides."""
        size = self._body_size
        head = data[: len(data) - size]
        whole = self._messages == 1 and len(data) <= _SMALL and head.endswith(_HEAD_END)
        framed = self._headers.get(b"content-length", b"") == b"%d" % size
        if whole and framed and not any(name in self._headers for name in _FRAMING):
            self._head = head
            self._repeated_size = len(data)

    # answers

    def closing_line(self) -> bytes:
        """Return the header that announces the end of the connection, if it is to end."""
        return b"" if self._keep_alive and not self._stopping else _CLOSE

    def speaks_chunked(self) -> bool:
        """Return whether the client understands chunked answers; end-of-file ends them otherwise."""
        return self._version == "1.1"

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Write a part of the streamed answer to the request in work; a client that does not read it is cut off."""
        if self._current is not exchange:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._limits.unsent:
            self._transport.abort()

    def finish(self, exchange: Exchange, parts: Iterable[bytes | memoryview], *, close: bool = False) -> None:
        """Write the (rest of the) answer to the request in work and start the next."""
        if self._current is not exchange:
            return
        for part in parts:
            self._transport.write(part)
        self._current = None
        self._mark += 1
        if close or not self._keep_alive or self._stopping:
            self._refused = True
            self._waiting.clear()
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._start_waiting)

    def _start_waiting(self) -> None:
        while self._waiting and self._current is None:
            self._waiting.popleft()()
        if not self._waiting and not self._is_unread and not self._transport.is_closing():
            self._transport.resume_reading()

    def _start(self, exchange: Exchange, keep_alive: bool, version: str) -> None:
        self._current = exchange
        self._keep_alive = keep_alive
        self._version = version
        self._handler(exchange)

    # refusals

    def _refuse_with(self, error: SlipwayError) -> None:
        self._refuse(HTTP_STATUS[error.code], error.message)

    def _refuse(self, status: int, message: str) -> None:
        """Read no further request; say why, after the answers still owed."""
        if self._refused:
            return
        self._refused = True
        self._phase = Phase.IDLE
        self._body = b""
        if self._is_free():
            self._send_refusal(status, message)
        else:
            self._waiting.append(partial(self._send_refusal, status, message))

    def _send_refusal(self, status: int, message: str) -> None:
        body = error_body(message)
        self._transport.write(
            b"%b%b%bContent-Length: %d\r\n\r\n%b" % (STATUS_LINE[status], JSON, _CLOSE, len(body), body)
        )
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(self._limits.linger_s, self._transport.close)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Stay with HTTP/1.1 when the client offers another protocol, as RFC 9110 (7.8) lets a server do."""
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    # life

    def sweep(self, seconds: float) -> None:
        """Close what has made no progress for too long; called every `seconds`."""
        if self._current is not None or self._refused:
            return
        if self._mark != self._swept_mark:
            self._swept_mark = self._mark
            self._still_s = 0.0
            return
        self._still_s += seconds
        if self._phase is Phase.IDLE:
            if self._still_s >= self._limits.idle_s:
                self._transport.close()
        elif self._still_s >= (self._limits.head_s if self._phase is Phase.HEAD else self._limits.body_s):
            self._refuse(408, "the request did not arrive in time")

    def stop(self) -> None:
        """Take no further request; close now, or after the answer still owed."""
        self._stopping = True
        if self._current is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; answers not yet sent are lost."""
        self._transport.abort()
