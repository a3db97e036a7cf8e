"""HTTP/1.1 framing: what the bytes from a client mean. Does not know sockets, the event loop or time.

Bytes go in through `receive`; requests, `Expect: 100-continue` and refusals come out as calls to a `Receiver`.
httptools parses; everything that could grow without end is bounded here (head, header count, chunks, trailers, body).
RFC 9112, section 6, alone decides where a request ends: an offered protocol upgrade is ignored, and trailers are never
treated as headers.
A client that repeats itself sends the same head, byte for byte, with each request; such a head is not parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

import httptools
import msgspec

from slipway.core.budget import TOO_MUCH_HELD
from slipway.core.explanation import EXPLAIN_HEADER
from slipway.core.shared_bytes import AVAILABLE, Body, SharedBytes
from slipway.errors import SlipwayError, invalid
from slipway.rest.response import HTTP_STATUS
from slipway.wire.compression import input_too_large

_HEAD_END: Final = b"\r\n\r\n"
_VERSIONS: Final = ("1.1", "1.0")
_NOT_KEPT: Final = (b"transfer-encoding", b"expect")  # with these, the head alone does not decide the framing
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")  # RFC 3986, 3.2
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)  # scheme and authority of a target
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ ")
_EXPLAIN: Final = EXPLAIN_HEADER.encode()
_CHUNK_OVERHEAD: Final = 32  # bytes that the size line and the end of a chunk may take
_SHARED_FROM: Final = 1 << 20  # bytes of a body that have arrived before it moves to memory that processes can share
SMALL: Final = 64 << 10  # bytes; up to this size, a head is worth keeping and a body may wait in memory


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The maximum size of one request, in bytes, headers and chunks, and how much of it is kept."""

    body: int = 64 << 20
    head: int = 64 << 10
    headers: int = 256
    repeated_headers: int = 32
    chunks: int = 65536
    keeps_spelling: bool = False  # heads also say how the names of headers were spelt


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
    spelling: dict[bytes, bytes] = {}
    explain: bytes | None = None  # the header `slipway-explain`


class Receiver(Protocol):
    """Receives the parsed requests. Of the framing it may call only `RequestFraming.refuse`."""

    def request_received(self, head: HttpHead, body: Body) -> None:
        """Receive a complete request; the framing does not use `body` again."""

    def may_share(self, target: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether the body of a request, if it is large, should be in memory that processes can share."""

    def hold(self, size: int) -> bool:
        """Note that `size` more bytes of a body are held in memory; return False if that is too much."""

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
        "_held",
        "_is_offer",
        "_is_private",
        "_is_refused",
        "_kept",
        "_kept_size",
        "_limits",
        "_overhead",
        "_parsed",
        "_parser",
        "_receiver",
        "_repeated",
        "_size",
        "_spelling",
        "_url",
        "phase",
        "progress",
    )

    def __init__(self, receiver: Receiver, limits: RequestLimits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._is_refused = False
        self._is_offer = False  # the head offers another protocol: the parser would drop the body
        self._parsed = 0  # bytes of target, headers and trailers
        self._overhead = 0  # bytes of a chunked body that are not data
        self._kept = b""  # the bytes of `_head`
        self._kept_size = -1  # bytes of the request it came with; -1 if the head must not be reused
        self._completed = 0  # requests completed by the latest data
        self._head: HttpHead  # of the last of them
        self._size = 0  # of its body
        self._head_bytes = self._repeated = self._chunks = self._chunked_bytes = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._spelling: dict[bytes, bytes] = {}  # empty unless it is to be kept
        self._body: Body = b""
        self._is_private = False  # it was decided whether the body moves to shared memory
        self._held = 0  # bytes of it that the receiver knows of
        self.phase = Phase.IDLE
        self.progress = 0

    def receive(self, data: bytes) -> None:
        """Parse `data`; refuse a request that is not HTTP or whose head is too large."""
        if len(data) == self._kept_size and data.startswith(self._kept):
            self._receiver.request_received(self._head, data[len(self._kept) :])
            return
        if self._is_refused:
            return
        self._kept_size = -1
        self._completed = 0
        before, received = self.phase, len(self._body)
        if not self._parse(data):  # it contained an offer of another protocol
            return
        if self.phase is not before or self._is_refused:
            return
        if self._completed:  # the request that is being received began within `data`
            if before is Phase.IDLE:
                self._keep_head(data)
        elif before is Phase.BODY:
            self._overhead += len(data) - (len(self._body) - received)
            self._bound_overhead()
        else:  # a head, or empty lines before it
            self._head_bytes += len(data)
            self._bound_head(self._head_bytes)

    def _parse(self, data: bytes) -> bool:
        """Feed `data` to the parser; return False if it contained an offer of another protocol."""
        is_plain = True
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                is_plain = False
                data = b"" if self._is_refused else self._without_offer() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserInvalidMethodError as error:
                if self._completed == 0 and _METHOD.match(data):  # HTTP allows methods that the parser does not know
                    self.refuse(405, "Method Not Allowed")
                self.refuse(400, f"malformed HTTP request: {error}")
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, MemoryError):  # raised by `on_body`
                    self.refuse(503, TOO_MUCH_HELD)
                self.refuse(400, f"malformed HTTP request: {error}")
            break
        return is_plain

    def refuse(self, status: int, message: str) -> None:
        """Stop receiving and pass on the reason; only the first refusal counts."""
        if self._is_refused:
            return
        self._is_refused = True
        self._kept_size = -1
        self.phase = Phase.IDLE
        self._body = b""
        self._held = 0
        self._receiver.refused(status, message)

    def close(self) -> None:
        """Drop the parser and the receiver, which refer back to this object; no more data may follow."""
        del self._parser, self._receiver

    def _without_offer(self) -> bytes:
        """Return the head just read without its offer of another protocol, for a new parser.

        RFC 9110 (7.8) lets a server ignore the offer; the parser would take what follows for that protocol's.
        """
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        headers = {name: value for name, value in self._headers.items() if name != b"upgrade"}
        options = [option.strip() for option in headers.pop(b"connection", b"").split(b",")]
        kept = b", ".join(option for option in options if option.lower() != b"upgrade")
        if kept:
            headers[b"connection"] = kept
        lines = [b"%b %b HTTP/%b" % (method, self._url, version), *map(b"%b: %b".__mod__, headers.items())]
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join(lines) + _HEAD_END

    def _bound_head(self, size: int) -> None:
        if size > self._limits.head:
            self.refuse(431, f"the request head exceeds {self._limits.head} bytes")

    def _bound_overhead(self) -> None:
        """Bound the part of a chunked body that is not data: size lines, extensions, trailers."""
        if self._overhead > self._limits.head + _CHUNK_OVERHEAD * self._chunks:
            self.refuse(431, f"chunk extensions and trailers exceed {self._limits.head} bytes")

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
        self._is_offer = False
        self._parsed = self._overhead = 0
        self._head_bytes = self._repeated = self._chunks = self._chunked_bytes = 0
        self._url = b""
        self._headers = {}
        self._spelling = {}
        self._body = b""
        self._is_private = False

    def on_url(self, url: bytes) -> None:
        """Add (a part of) the request target."""
        self._url += url
        self._parsed += len(url)
        self._bound_head(self._parsed)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; the values of a repeated one are joined by commas (RFC 9110, 5.3)."""
        self._parsed += len(name) + len(value)
        self._bound_head(self._parsed)
        if self.phase is Phase.BODY:  # a trailer: its size counts, its content is dropped
            return
        if self._limits.keeps_spelling:
            self._spelling.setdefault(name.lower(), name)
        name, value = name.lower(), value.rstrip(b" \t")
        if name in self._headers:
            if name == b"host":
                self.refuse(400, "malformed HTTP request: more than one Host header")
                return
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
        self._is_offer = self._parser.should_upgrade()
        if self._is_offer and self._parser.get_method() != b"CONNECT":
            return  # read again without the offer
        self.phase = Phase.BODY
        self.progress += 1
        headers = self._headers
        if self._parser.get_http_version() not in _VERSIONS:
            self.refuse(505, "only HTTP/1.0 and HTTP/1.1 are supported")
            return
        if self._is_offer:  # a tunnel, whose bytes would not be HTTP
            self.refuse(405, "Method Not Allowed")
            return
        host = headers.get(b"host")
        if host is None:
            if self._parser.get_http_version() == "1.1":  # RFC 9112, 3.2
                self.refuse(400, "malformed HTTP request: no Host header")
                return
        elif _HOST.fullmatch(host) is None:
            self.refuse(400, "malformed HTTP request: the Host header is not a host and port")
            return
        if len(headers) > self._limits.headers:
            self.refuse(431, f"more than {self._limits.headers} headers")
            return
        if not self._url.startswith(b"/") and (absolute := _ABSOLUTE.match(self._url)):
            headers[b"host"] = absolute[1]  # RFC 9112, 3.2.2: what Host says is ignored
            if not absolute[1] or _HOST.fullmatch(absolute[1]) is None:
                self.refuse(400, "malformed HTTP request: the target does not name a host")
                return
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body:
            self._refuse_with(input_too_large(int(length), self._limits.body))
        elif b"expect" in headers and self._parser.get_http_version() == "1.1":  # RFC 9110, 10.1.1
            self._receiver.continue_expected()

    def on_body(self, data: bytes) -> None:
        """Add a part of the body; a body that arrives in one part is not copied."""
        if self._is_refused:
            return
        self.progress += 1
        body = self._body
        if not body:
            self._body = data
        elif isinstance(body, SharedBytes):
            body.add(data)
        else:
            if isinstance(body, bytes):
                self._body = body = bytearray(body)
            body += data
            if len(body) > _SHARED_FROM and not self._is_private:
                self._share(body)
        if len(self._body) > SMALL:
            size = len(self._body) - self._held
            self._held += size
            if not self._receiver.hold(size):
                self.refuse(503, TOO_MUCH_HELD)
                return
        if len(self._body) > self._limits.body:
            self._refuse_with(input_too_large(f"more than {self._limits.body}", self._limits.body))

    def _share(self, body: bytearray) -> None:
        """Move the body to shared memory if that is of use; it stays where it is if there is no room for it there."""
        self._is_private = True
        if AVAILABLE and self._receiver.may_share(self._url, self._headers):
            with suppress(OSError):
                self._body = SharedBytes(body)

    def on_chunk_complete(self) -> None:
        """Count the non-empty chunks."""
        size = len(self._body)
        if size > self._chunked_bytes:
            self._chunked_bytes = size
            self._chunks += 1
            if self._chunks > self._limits.chunks:
                self._refuse_with(invalid(f"request body exceeds maximum of {self._limits.chunks} non-empty chunks"))

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self._is_refused or self._is_offer:
            return
        self.phase = Phase.IDLE
        parser = self._parser
        target = self._url
        if not target.startswith(b"/"):  # absolute-form (RFC 9112, 3.2.2), as sent to proxies
            target = _ABSOLUTE.sub(b"", target, count=1) or b"/"
        self._head = HttpHead(
            parser.get_method(),
            target.partition(b"?")[0],
            self._headers,
            parser.should_keep_alive(),
            parser.get_http_version() == "1.1",
            self._spelling,
            self._headers.get(_EXPLAIN),
        )
        self._completed += 1
        self._head_bytes = 0
        body, self._body = self._body, b""
        if isinstance(body, SharedBytes):
            body.finish()
        self._held = 0
        self._size = len(body)
        self._receiver.request_received(self._head, body)
