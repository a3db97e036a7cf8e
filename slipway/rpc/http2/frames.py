"""Frames of HTTP/2 (RFC 9113): their kinds, flags and forms. Pure; knows neither sockets nor calls."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = struct.Struct(">HBBBI")  # the length in three bytes, kind, flags, stream
HEAD_SIZE: Final = HEAD.size
MAX_FRAME: Final = 16_384  # bytes, what both sides may send unless the other says more
FIRST_WINDOW: Final = 65_535  # bytes of data that may be sent before the first WINDOW_UPDATE
MAX_WINDOW: Final = 2**31 - 1
_U32: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")
_PRIORITY_SIZE: Final = 5

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6


class Http2Code(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Http2Error(Exception):
    """The client broke the protocol: its connection ends with this code."""

    def __init__(self, code: Http2Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """Return what comes before the `size` bytes of a frame."""
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*value) for value in values.items()))


def window_update(stream: int, size: int) -> bytes:
    """Return a WINDOW_UPDATE frame, which lets the other side send `size` bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, _U32.pack(size))


def reset(stream: int, code: Http2Code) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _U32.pack(code))


def goaway(last_stream: int, code: Http2Code, reason: str = "") -> bytes:
    """Return a GOAWAY frame: streams after `last_stream` are not answered."""
    return frame(GOAWAY, 0, 0, _U32.pack(last_stream) + _U32.pack(code) + reason.encode("ascii", "replace"))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings in a SETTINGS frame, which may not be cut."""
    if len(payload) % _SETTING.size:
        raise Http2Error(Http2Code.FRAME_SIZE_ERROR, "a SETTINGS frame is cut")
    found = list(_SETTING.iter_unpack(payload))
    for name, value in found:
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2Error(Http2Code.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
        if name == MAX_FRAME_SIZE and not MAX_FRAME <= value < 1 << 24:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, f"a maximum frame of {value} bytes")
    return found


def read_increment(payload: bytes) -> int:
    """Return the size in a WINDOW_UPDATE frame; 0 is an error whose scope depends on the stream."""
    if len(payload) != _U32.size:
        raise Http2Error(Http2Code.FRAME_SIZE_ERROR, "a WINDOW_UPDATE frame does not have four bytes")
    return int(_U32.unpack(payload)[0]) & MAX_WINDOW


def content(flags: int, payload: bytes, *, prioritised: bool = False) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding and priority."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise Http2Error(Http2Code.FRAME_SIZE_ERROR, "a padded frame is empty")
        start, end = 1, end - payload[0]
    if prioritised and flags & PRIORITISED:
        start += _PRIORITY_SIZE
    if start > end:
        raise Http2Error(Http2Code.PROTOCOL_ERROR, "a frame is shorter than its padding or priority")
    return payload[start:end]
