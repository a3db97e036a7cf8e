"""The status of a failed call: the table of error codes to gRPC status codes (Triton's `src/grpc/grpc_utils.cc`), and
the text, in a length that arrives."""

from __future__ import annotations

from typing import Final

from slipway.errors import Code
from slipway.wire.protobuf_response import sendable

# Numbers from https://grpc.github.io/grpc/core/md_doc_statuscodes.html; both engines use them.
RESOURCE_EXHAUSTED: Final = 8
UNAUTHENTICATED: Final = 16

GRPC_STATUS: Final = {
    Code.UNKNOWN: 2,
    Code.INTERNAL: 13,
    Code.NOT_FOUND: 5,
    Code.INVALID_ARG: 3,
    Code.UNAVAILABLE: 14,
    Code.UNSUPPORTED: 12,
    Code.ALREADY_EXISTS: 6,
    Code.CANCELLED: 1,
}

NAMES: Final = {number: code.name for code, number in GRPC_STATUS.items()} | {
    RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
    UNAUTHENTICATED: "UNAUTHENTICATED",
}  # for the log

# Clients refuse trailers above 8 KiB (grpc.max_metadata_size), and then report a failure of their own.
STATUS_BYTES: Final = 4096
_LONGEST_CHARACTER: Final = 12  # four bytes of UTF-8, each percent-encoded
_CUT: Final = "..."


def status_text(message: str) -> str:
    """Return `message` as the text of a status, cut where its percent-encoded form would exceed `STATUS_BYTES`."""
    message = sendable(message)
    if len(message) * _LONGEST_CHARACTER <= STATUS_BYTES:
        return message
    if len(message) <= STATUS_BYTES and _encoded_size(message) <= STATUS_BYTES:
        return message
    room = STATUS_BYTES - len(_CUT)
    for index, character in enumerate(message):
        room -= _encoded_size(character)
        if room < 0:
            return message[:index] + _CUT
    return message


def _encoded_size(text: str) -> int:
    """Return the size of the percent-encoded form, in which only printable ASCII without `%` stays as it is."""
    encoded = text.encode()
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in encoded)
