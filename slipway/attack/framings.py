"""The corpus of framings: requests whose body is another request, written in every way that two programs could read
differently (RFC 9112, section 6).

Pure. What the inner request asks for is the caller's choice; no reading may execute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LIVE: Final = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST: Final = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
WEBSOCKET: Final = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
H2C: Final = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
CHUNKED: Final = b"Transfer-Encoding: chunked"
_OVERLONG: Final = b"1" + b"0" * 16
_EMPTY: Final = b"0\r\n\r\n"  # a chunked body


@dataclass(frozen=True, slots=True)
class Framing:
    """What a client sends, and how many requests that is. If the last one is `broken`, nothing after it is read.

    `at_most` is the number of responses of a server that makes use of a choice that the RFCs leave it, such as reading
    the same Content-Length twice as one: 0 where there is no choice.
    """

    data: bytes
    requests: int
    broken: bool = False
    at_most: int = 0


class FramingCorpus:
    """Builds framings around an inner request; `infer` is the path of the outer ones."""

    def __init__(self, infer: bytes, inner: bytes) -> None:
        self._infer = infer
        self._inner = inner
        self._sized = b"Content-Length: %d" % len(inner)

    def whole(self) -> dict[str, Framing]:
        """Return valid requests: each has a body that says where it ends, whatever else is offered."""
        post, chunks, sized = self._post, self._chunks, self._sized
        digits = b"00%X" % len(self._inner)
        return {
            "no body": _whole(LIVE, LIVE),
            "sized": _whole(post(sized)),
            "sized, twice": _whole(post(sized), post(sized)),
            "sized GET": _whole(post(sized, method=b"GET")),
            "in a chunk": _whole(post(CHUNKED, body=chunks())),
            "in a chunk with an extension": _whole(post(CHUNKED, body=chunks(b";x=y"))),
            "in a chunk, with upper-case digits and zeros": _whole(post(CHUNKED, body=chunks(size=digits))),
            "websocket": _whole(post(*WEBSOCKET, b"Content-Length: 0", body=b"", method=b"GET"), LIVE),
            "websocket, sized": _whole(post(*WEBSOCKET, sized)),
            "websocket, sized GET": _whole(post(*WEBSOCKET, sized, method=b"GET")),
            "websocket, in a chunk": _whole(post(*WEBSOCKET, CHUNKED, body=chunks())),
            "h2c, sized": _whole(post(*H2C, sized)),
            "h2c, in a chunk": _whole(post(*H2C, CHUNKED, body=chunks())),
            "h2c, sized, twice": _whole(post(*H2C, sized), post(*H2C, sized)),
            "upgrade without connection": _whole(post(b"Upgrade: h2c", sized)),
            "connection without upgrade": _whole(post(b"Connection: Upgrade", sized)),
            "trailers": _whole(post(CHUNKED, body=chunks(trailers=b"X: y\r\n"))),
            "trailers that are headers of the protocol": _whole(
                post(CHUNKED, body=chunks(trailers=b"Inference-Header-Content-Length: 1\r\nContent-Encoding: gzip\r\n"))
            ),
            "waiting to continue": _whole(post(b"Expect: 100-continue", sized)),
        }

    def broken(self) -> dict[str, Framing]:
        """Return requests whose end is in doubt."""
        return self._lengths() | self._codings() | self._chunk_sizes() | self._request_lines()

    def _lengths(self) -> dict[str, Framing]:
        post, sized = self._post, self._sized
        return {
            "the same length twice": _broken(post(sized, sized), at_most=3),
            "two lengths": _broken(post(sized, b"Content-Length: 0")),
            "two lengths, the other order": _broken(post(b"Content-Length: 0", sized)),
            "a list of lengths": _broken(post(b"Content-Length: 0, %d" % len(self._inner))),
            "a length with a sign": _broken(post(b"Content-Length: +%d" % len(self._inner))),
            "a negative length": _broken(post(b"Content-Length: -1")),
            "a hexadecimal length": _broken(post(b"Content-Length: 0x4")),
            "a length beyond 64 bits": _broken(post(b"Content-Length: 18446744073709551617")),
            "an empty length": _broken(post(b"Content-Length:")),
        }

    def _codings(self) -> dict[str, Framing]:
        post, sized, empty = self._post, self._sized, _EMPTY + self._inner
        framing_trailers = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        folded = b"Transfer-Encoding:\r\n chunked"
        return {
            "trailers that are headers of framing": _broken(
                post(CHUNKED, body=self._chunks(trailers=framing_trailers)), at_most=3
            ),
            "a length and chunks": _broken(post(b"Content-Length: 5", CHUNKED, body=empty), at_most=2),
            "chunks and a length": _broken(post(CHUNKED, sized, body=empty), at_most=2),
            "chunks, then identity": _broken(post(b"Transfer-Encoding: chunked, identity")),
            "chunks twice": _broken(post(b"Transfer-Encoding: chunked, chunked", body=empty)),
            "chunks in two headers": _broken(post(CHUNKED, b"Transfer-Encoding: identity", body=empty)),
            "another coding": _broken(post(b"Transfer-Encoding: xchunked", sized)),
            "a coding after a vertical tab": _broken(post(b"Transfer-Encoding: \x0bchunked", sized)),
            "a coding in quotes": _broken(post(b'Transfer-Encoding: "chunked"', sized)),
            "a blank before the colon": _broken(post(b"Transfer-Encoding : chunked", sized, body=empty)),
            "a folded coding": _broken(post(folded, sized, body=empty), at_most=2),
            "a header that begins with a blank": _broken(post(b" Transfer-Encoding: chunked", sized)),
            "a NUL in a header": _broken(post(b"X: a\0b", sized), at_most=3),
            "a bare CR in a header": _broken(post(b"X: y\rTransfer-Encoding: chunked", sized), at_most=3),
        }

    def _chunk_sizes(self) -> dict[str, Framing]:
        post, chunks, length = self._post, self._chunks, len(self._inner)
        return {
            "a chunk size with a prefix": _broken(post(CHUNKED, body=chunks(size=b"0x%x" % length))),
            "a chunk size with a sign": _broken(post(CHUNKED, body=chunks(size=b"+%x" % length))),
            "a negative chunk size": _broken(post(CHUNKED, body=chunks(size=b"-1"))),
            "a chunk size beyond 64 bits": _broken(post(CHUNKED, body=chunks(size=_OVERLONG))),
            "an empty chunk size": _broken(post(CHUNKED, body=chunks(size=b""))),
            "a chunk that is longer than its size": _broken(post(CHUNKED, body=b"1\r\nab\r\n" + _EMPTY + self._inner)),
            "a chunk extension with a bare LF": _broken(post(CHUNKED, body=b"1;x\na\r\n" + _EMPTY + self._inner)),
        }

    def _request_lines(self) -> dict[str, Framing]:
        post, sized, empty = self._post, self._sized, _EMPTY + self._inner
        tunnel = b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n%b\r\n\r\n%b" % (sized, self._inner)
        return {
            "chunks in HTTP/1.0": Framing(LIVE + post(CHUNKED, body=empty, version=b"1.0"), 2, broken=True, at_most=2),
            "two hosts": _broken(post(b"Host: other", sized)),
            "a tunnel": _broken(tunnel),
            "another version": _broken(post(sized, version=b"2.0"), at_most=3),
            "no version": _broken(b"GET /v2\r\n" + self._inner, at_most=2),
        }

    def _post(
        self, *lines: bytes, body: bytes | None = None, method: bytes = b"POST", version: bytes = b"1.1"
    ) -> bytes:
        """Return a request with header `lines`, whose body is the inner request unless it is given."""
        head = b"%b %b HTTP/%b" % (method, self._infer, version)
        return b"\r\n".join([head, b"Host: localhost", *lines, b"", b""]) + (self._inner if body is None else body)

    def _chunks(self, *extra: bytes, size: bytes | None = None, trailers: bytes = b"") -> bytes:
        """Return the inner request as a chunked body."""
        digits = b"%x" % len(self._inner) if size is None else size
        return b"".join([digits, *extra, b"\r\n", self._inner, b"\r\n0\r\n", trailers, b"\r\n"])


def _whole(*requests: bytes) -> Framing:
    """Return valid requests, with one more that closes the connection."""
    return Framing(b"".join(requests) + LAST, len(requests) + 1)


def _broken(request: bytes, at_most: int = 0) -> Framing:
    """Return a valid request and one whose end is in doubt, followed by one that must not be answered."""
    return Framing(LIVE + request + LIVE, 2, broken=True, at_most=at_most)


def offers(lines: tuple[bytes, ...], count: int) -> bytes:
    """Return `count` pipelined requests that offer another protocol; the last one closes the connection."""
    one = b"\r\n".join([b"GET /v2/health/live HTTP/1.1", b"Host: localhost", *lines, b"", b""])
    return one * (count - 1) + LAST
