"""The moments of a request that a trace records, by number: numbers are quick to record and to pass on. Their names are
Triton's (docs/user_guide/trace.md).
"""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    "HTTP_RECV_START",
    "HTTP_RECV_END",
    "GRPC_WAITREAD_START",
    "GRPC_WAITREAD_END",
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "INFER_RESPONSE_COMPLETE",
    "REQUEST_END",
    "HTTP_SEND_START",
    "HTTP_SEND_END",
    "GRPC_SEND_START",
    "GRPC_SEND_END",
)
(
    HTTP_RECV_START,
    HTTP_RECV_END,
    GRPC_WAITREAD_START,
    GRPC_WAITREAD_END,
    REQUEST_START,
    QUEUE_START,
    COMPUTE_START,
    COMPUTE_INPUT_END,
    COMPUTE_OUTPUT_START,
    COMPUTE_END,
    INFER_RESPONSE_COMPLETE,
    REQUEST_END,
    HTTP_SEND_START,
    HTTP_SEND_END,
    GRPC_SEND_START,
    GRPC_SEND_END,
) = range(len(NAMES))
