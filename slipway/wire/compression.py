"""Content codings of HTTP bodies: gzip and deflate, with a hard limit on the decompressed size."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from slipway.errors import SlipwayError, invalid

CODINGS: Final = ("gzip", "deflate")
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS  # zlib detects a gzip or zlib header
_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_FASTEST: Final = 1
_MAX_MEMBERS: Final = 65536  # of a gzip body; each costs a decoder
_FIRST_WINDOW: Final = 512  # bytes of a member that are read first; a decoder copies what is left of its window
_WINDOW_LIMIT: Final = 64 << 10
_PIECE: Final = 1 << 20  # bytes decompressed at a time


def input_too_large(size: int | str, limit: int) -> SlipwayError:
    """Return the error for a body above the limit; `size` is its size in bytes, or words if the size is unknown."""
    return invalid(
        f"Request body of {size} bytes exceeds the maximum allowed input size of {limit} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


def decompress(body: bytes | bytearray, limit: int) -> bytearray:
    """Return the decoded body; raise INVALID_ARG if it is damaged, truncated, or larger than `limit` bytes."""
    if not body:
        raise invalid("nothing to be decompressed")
    view = memoryview(body)
    decoded = bytearray()
    offset = members = 0
    try:
        while offset < len(view):  # a gzip file may have several members
            members += 1
            if members > _MAX_MEMBERS:
                raise invalid(f"failed to decompress the request body: more than {_MAX_MEMBERS} members")
            offset = _decompress_member(view, offset, decoded, limit)
    except zlib.error:
        raise invalid("failed to decompress the request body: invalid compressed data") from None
    return decoded


def _decompress_member(view: memoryview, offset: int, decoded: bytearray, limit: int) -> int:
    """Append the member at `offset` to `decoded`; return where it ends.

    The window grows with the member, so that what a decoder copies is at most in proportion to what it reads.
    """
    decoder = zlib.decompressobj(_ANY_HEADER)
    window = _FIRST_WINDOW
    while not decoder.eof:
        if offset == len(view):
            raise invalid("failed to decompress the request body: the compressed data is truncated")
        given = view[offset : offset + window]
        offset += len(given)
        window = min(2 * window, _WINDOW_LIMIT)
        pending: bytes | memoryview = given
        is_full = False  # the decoder may hold more output than it was asked for
        while pending or is_full:
            most = min(_PIECE, limit - len(decoded) + 1)
            piece = decoder.decompress(pending, most)
            decoded += piece
            if len(decoded) > limit:
                raise input_too_large(f"more than {limit}", limit)
            pending, is_full = decoder.unconsumed_tail, len(piece) == most
    return offset - len(decoder.unused_data)


class Compressor:
    """A body in `coding` (a member of `CODINGS`), made part by part."""

    __slots__ = ("_encoder",)

    def __init__(self, coding: str) -> None:
        self._encoder: zlib._Compress | None = zlib.compressobj(_FASTEST, zlib.DEFLATED, _WINDOW[coding])

    def add(self, part: bytes | memoryview) -> bytes:
        """Return what is known of the compressed body after one more part; it may be empty."""
        if self._encoder is None:
            raise ValueError("the body has ended")
        return self._encoder.compress(part)

    def end(self) -> bytes | None:
        """Return the end of the compressed body, and None from then on."""
        encoder, self._encoder = self._encoder, None
        return None if encoder is None else encoder.flush()


def compress(parts: Iterable[bytes | memoryview], coding: str) -> bytes:
    """Return the parts as one body in `coding`."""
    compressor = Compressor(coding)
    return b"".join([*map(compressor.add, parts), compressor.end() or b""])


def choose_coding(accept_encoding: str) -> str:
    """Return the coding of `CODINGS` that an Accept-Encoding header prefers, or "" for none.

    The highest q-value wins, then the first in the header; `*` and unknown codings mean none, as in Triton.
    """
    best, best_quality = "", 0.0
    for item in accept_encoding.split(","):
        name, _, parameters = item.partition(";")
        quality = _quality(parameters)
        if quality > best_quality and (coding := name.strip().lower()) in (*CODINGS, "identity"):
            best, best_quality = coding, quality
    return "" if best == "identity" else best


def _quality(parameters: str) -> float:
    key, _, value = parameters.partition("=")
    if key.strip().lower() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
