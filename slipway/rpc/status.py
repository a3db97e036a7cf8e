"""The table of error codes to gRPC status codes (Triton's `src/grpc/grpc_utils.cc`)."""

from __future__ import annotations

from typing import Final

from slipway.errors import Code

# Numbers from https://grpc.github.io/grpc/core/md_doc_statuscodes.html; both engines use them.
RESOURCE_EXHAUSTED: Final = 8

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
