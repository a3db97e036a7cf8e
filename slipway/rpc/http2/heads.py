"""The heads of gRPC calls and responses: header blocks of HTTP/2 (RFC 7541) and what gRPC says in them.

A client repeats the head of a call byte for byte once its table of headers is complete, so the meaning of a block is
remembered until the table changes. Blocks of the server use no table, and most are constants.
Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hpack import Decoder, HPACKError

from slipway.rpc.http2.frames import Http2Code, Http2Error

MAX_HEAD: Final = 16_384  # bytes of a call's head, decoded, with 32 for each field
MAX_BLOCK: Final = 65_536  # bytes that are read, so that the next head can be: one above the limit ends its call alone
_FIELD: Final = 32
_MAX_KNOWN: Final = 64
_LARGEST_KNOWN: Final = 512  # bytes of a block
_TABLE_UPDATE: Final = 0x20
_KIND_BITS: Final = 0xE0
_SIZE_BITS: Final = 0x1F
_MOST_UPDATES: Final = 2  # in a block
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT_DIGITS: Final = 8
_BINARY: Final = "-bin"
# Headers that belong to the transport: applications do not see them.
_TRANSPORT: Final = frozenset(
    {"te", "content-type", "content-length", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"}
)
CONTENT_TYPE: Final = "application/grpc"
CODINGS: Final = ("identity", "deflate", "gzip")

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class CallHead:
    """What a client says before its message. `refusal` is the HTTP status of a request that is not gRPC, `excess` the
    size of a head above the limit, of which nothing else is known."""

    path: str
    metadata: Metadata = ()
    timeout_s: float | None = None
    coding: str = "identity"  # of compressed messages
    refusal: int = 0
    excess: int = 0


class HeadReader:
    """Reads the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_BLOCK)
        self._known: dict[bytes, CallHead] = {}

    def read(self, block: bytes) -> CallHead:
        """Return the head in a block. Raise `Http2Error`: the table is lost after a block that cannot be read."""
        known = self._known.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        count, newest = len(entries), entries[0] if entries else None
        _check_updates(block)
        try:
            headers = self._decoder.decode(block, raw=True)
            size = sum(len(name) + len(value) + _FIELD for name, value in headers)
            found = (
                CallHead("", excess=size)
                if size > MAX_HEAD
                else call_head((_text(name), _text(value)) for name, value in headers)
            )
        except (HPACKError, IndexError, UnicodeDecodeError) as error:
            raise Http2Error(Http2Code.COMPRESSION_ERROR, f"a header block cannot be read: {error}") from None
        if len(entries) != count or (entries and entries[0] is not newest):
            self._known.clear()  # the table has changed, and with it what blocks mean
        elif len(block) <= _LARGEST_KNOWN and not _is_update(block, 0):
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[block] = found
        return found


def _is_update(block: bytes, at: int) -> bool:
    """Return whether the size of the table changes there."""
    return at < len(block) and block[at] & _KIND_BITS == _TABLE_UPDATE


def _check_updates(block: bytes) -> None:
    """Raise `Http2Error` for a block that changes the size of the table more often than any block has to (RFC 7541,
    section 4.2): a large one would take long."""
    at = count = 0
    while _is_update(block, at):
        count += 1
        if count > _MOST_UPDATES:
            raise Http2Error(Http2Code.COMPRESSION_ERROR, "a header block changes the size of its table too often")
        at += 1
        if block[at - 1] & _SIZE_BITS == _SIZE_BITS:  # the size goes on, up to a byte without the highest bit
            while at < len(block) and block[at] & 0x80:
                at += 1
            at += 1


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else bytes(value).decode("latin-1")


def call_head(headers: Iterable[tuple[str, str]]) -> CallHead:
    """Return the head of a call from its headers."""
    pseudo: dict[str, str] = {}
    transport: dict[str, str] = {}
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name.startswith(":"):
            pseudo[name] = value
        elif name in _TRANSPORT:
            transport[name] = value
        elif name.endswith(_BINARY):
            metadata += [(name, _decoded(part)) for part in value.split(",")]
        else:
            metadata.append((name, value))
    refusal = 0
    if pseudo.get(":method") != "POST":
        refusal = 405
    elif not transport.get("content-type", "").startswith(CONTENT_TYPE):
        refusal = 415
    return CallHead(
        pseudo.get(":path", ""),
        tuple(metadata),
        timeout(transport.get("grpc-timeout", "")),
        transport.get("grpc-encoding", "identity"),
        refusal,
    )


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


def timeout(text: str) -> float | None:
    """Return the seconds in a `grpc-timeout`; None for "" and, as in grpcio, for what cannot be read."""
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not unit or not 0 < len(digits) <= _TIMEOUT_DIGITS or not digits.isascii():
        return None
    return int(digits) * _UNITS[unit] if digits.isdigit() else None


# Blocks of the server: literals outside any table


def _size(value: int) -> bytes:
    """Return the length of a text, in 7 bits and more (RFC 7541, section 5.1)."""
    if value < 0x7F:
        return bytes((value,))
    value -= 0x7F
    encoded = bytearray(b"\x7f")
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(name: str, value: str) -> bytes:
    """Return one header of a block."""
    return b"\0" + _size(len(name)) + name.encode("ascii") + _size(len(value)) + value.encode("latin-1")


RESPONSE: Final = (
    b"\x88" + field("content-type", CONTENT_TYPE) + field("grpc-accept-encoding", ",".join(CODINGS))  # 0x88: 200
)
OK_TRAILERS: Final = field("grpc-status", "0")


def trailers(status: int, message: str) -> bytes:
    """Return the trailers of a call that ends with `status`."""
    block = field("grpc-status", str(status))
    return block + field("grpc-message", percent_encoded(message)) if message else block


def http_refusal(status: int) -> bytes:
    """Return the only headers of the response to a request that is not gRPC."""
    return field(":status", str(status))


def percent_encoded(message: str) -> str:
    """Return a status message in printable ASCII."""
    encoded = message.encode(errors="replace")
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in encoded)
