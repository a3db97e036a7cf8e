"""HTTP/1.1 framing: what the bytes from a client mean. Does not know sockets, the event loop or time.

Bytes go in through `receive`; requests, `Expect: 100-continue` and refusals come out as calls of a `Receiver`.
httptools parses; whatever could grow without limit is bounded here (head, header count, chunks, body).
Many clients send the same head, byte for byte, with each request; a repeated head is not parsed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

import httptools
import msgspec

from slipway.errors import SlipwayError, invalid
from slipway.rest.response import HTTP_STATUS
from slipway.wire.compression import input_too_large

_HEAD_END: Final = b"\r\n\r\n"
_VERSIONS: Final = ("1.1", "1.0")
_NOT_KEPT: Final = (b"transfer-encoding", b"upgrade", b"expect")  # with these the head alone does not fix the framing
SMALL: Final = 64 << 10  # bytes; the head of a request up to this size is kept, and its body may wait in memory


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The maximum size of one request, in bytes, headers and chunks."""

    body: int = 64 << 20
    head: int = 64 << 10
    headers: int = 256
    repeated_headers: int = 32
    chunks: int = 65536


class Phase(Enum):
    """The part of a request that is being received."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class HttpHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a request: method, path without query, headers by lower-case name, and how to answer it.

    Consecutive requests with equal heads share one object, so `headers` must not be changed.
    """

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool  # the client may send more requests on this connection
    takes_chunks: bool  # a streamed response may be chunked; otherwise it ends when the connection closes


class Receiver(Protocol):
    """Receives the parsed requests. Of the framing it may call only `RequestFraming.refuse`."""

    def request_received(self, head: HttpHead, body: bytes | bytearray) -> None:
        """Receive a complete request; the framing does not use `body` again."""

    def continue_expected(self) -> None:
        """Note that the client is waiting for 100 Continue before it sends the body."""

    def refused(self, status: int, message: str) -> None:
        """Receive the HTTP status and the reason for a refusal; no further requests follow."""


class RequestFraming:
    """The requests of one connection, in order. `progress` changes with every event except more bytes of a head."""

    __slots__ = (
        "_body",
        "_chunked_bytes",
        "_chunks",
        "_completed",
        "_head",
        "_head_bytes",
        "_headers",
        "_is_refused",
        "_kept",
        "_kept_size",
        "_limits",
        "_parser",
        "_receiver",
        "_repeated",
        "_size",
        "_url",
        "phase",
        "progress",
    )

    def __init__(self, receiver: Receiver, limits: RequestLimits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._is_refused = False
        self._kept = b""  # the bytes of `_head`
        self._kept_size = -1  # bytes of the request it came with; -1 if the head must not be reused
        self._completed = 0  # requests completed by the latest data
        self._head: HttpHead  # of the last of them
        self._size = 0  # of its body
        self._head_bytes = self._repeated = self._chunks = self._chunked_bytes = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""
        self.phase = Phase.IDLE
        self.progress = 0

    def receive(self, data: bytes) -> None:
        """Parse `data`; refuse a request that is not HTTP or has too large a head."""
        if len(data) == self._kept_size and data.startswith(self._kept):
            self._receiver.request_received(self._head, data[len(self._kept) :])
            return
        if self._is_refused:
            return
        self._kept_size = -1
        self._completed = 0
        before = self.phase
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay_with_http(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self.refuse(400, f"malformed HTTP request: {error}")
        if self.phase is not before or self._is_refused:
            return
        if before is Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head:
                self.refuse(431, f"the request head exceeds {self._limits.head} bytes")
        elif before is Phase.IDLE:
            self._keep_head(data)

    def refuse(self, status: int, message: str) -> None:
        """Stop receiving and pass on the reason; only the first refusal counts."""
        if self._is_refused:
            return
        self._is_refused = True
        self._kept_size = -1
        self.phase = Phase.IDLE
        self._body = b""
        self._receiver.refused(status, message)

    def close(self) -> None:
        """Drop the parser and the receiver, which refer back to this object; no more data may follow."""
        del self._parser, self._receiver

    def _stay_with_http(self, rest: bytes) -> None:
        """Ignore a request to upgrade to another protocol, as RFC 9110 (7.8) allows."""
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.receive(rest)

    def _keep_head(self, data: bytes) -> None:
        """Keep the head of `data` if `data` is one complete request whose framing depends on the head alone."""
        head = data[: len(data) - self._size]
        is_whole = self._completed == 1 and len(data) <= SMALL and head.endswith(_HEAD_END)
        is_sized = self._headers.get(b"content-length", b"") == b"%d" % self._size
        if is_whole and is_sized and not any(name in self._headers for name in _NOT_KEPT):
            self._kept = head
            self._kept_size = len(data)

    def _refuse_with(self, error: SlipwayError) -> None:
        self.refuse(HTTP_STATUS[error.code], error.message)

    # called by the parser

    def on_message_begin(self) -> None:
        """Start a request."""
        self.phase = Phase.HEAD
        self.progress += 1
        self._head_bytes = self._repeated = self._chunks = self._chunked_bytes = 0
        self._url = b""
        self._headers = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """Add (a part of) the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; the values of a repeated header are joined by commas (RFC 9110, 5.3)."""
        name = name.lower()
        if name in self._headers:
            self._repeated += 1
            if self._repeated > self._limits.repeated_headers:
                self.refuse(431, f"more than {self._limits.repeated_headers} repeated headers")
                return
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head before any of the body is read."""
        if self._is_refused:
            return
        self.phase = Phase.BODY
        self.progress += 1
        headers = self._headers
        if self._parser.get_http_version() not in _VERSIONS:
            self.refuse(505, "only HTTP/1.0 and HTTP/1.1 are supported")
            return
        if len(headers) > self._limits.headers:
            self.refuse(431, f"more than {self._limits.headers} headers")
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body:
            self._refuse_with(input_too_large(int(length), self._limits.body))
        elif b"expect" in headers:
            self._receiver.continue_expected()

    def on_body(self, data: bytes) -> None:
        """Add a part of the body; a body that arrives in one part is not copied."""
        if self._is_refused:
            return
        self.progress += 1
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > self._limits.body:
            self._refuse_with(input_too_large(f"more than {self._limits.body}", self._limits.body))

    def on_chunk_complete(self) -> None:
        """Count the non-empty chunks."""
        size = len(self._body)
        if size > self._chunked_bytes:
            self._chunked_bytes = size
            self._chunks += 1
            if self._chunks > self._limits.chunks:
                self._refuse_with(invalid(f"request body exceeds maximum of {self._limits.chunks} non-empty chunks"))

    def on_message_complete(self) -> None:
        """Pass the request to the receiver."""
        if self._is_refused:
            return
        self.phase = Phase.IDLE
        parser = self._parser
        self._head = HttpHead(
            parser.get_method(),
            self._url.partition(b"?")[0],
            self._headers,
            parser.should_keep_alive(),
            parser.get_http_version() == "1.1",
        )
        self._completed += 1
        body, self._body = self._body, b""
        self._size = len(body)
        self._receiver.request_received(self._head, body)
