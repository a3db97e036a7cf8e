"""What a client of the proxy gets when a request fails: test-triton-pub's two envelopes, and FastAPI's for bodies.

A failure of the server behind the proxy has gRPC's status name; the table gives it an HTTP status. Source of the
texts: shern2/test-triton-pub, app/main.py, and tritonclient's InferenceServerException.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from slipway.errors import Code, SlipwayError

FAILED: Final = "Failed to query Triton Inference Server"
UNEXPECTED: Final = "Unexpected error"
HTTP_STATUS: Final = {  # the rest: 500
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
STATUS_NAMES: Final = {  # of our own errors
    Code.INVALID_ARG: "INVALID_ARGUMENT",
    Code.NOT_FOUND: "NOT_FOUND",
    Code.UNAVAILABLE: "UNAVAILABLE",
    Code.UNSUPPORTED: "UNIMPLEMENTED",
    Code.ALREADY_EXISTS: "ALREADY_EXISTS",
    Code.CANCELLED: "CANCELLED",
    Code.UNKNOWN: "UNKNOWN",
    Code.INTERNAL: "INTERNAL",
}
_MAX_ECHO: Final = 4096  # bytes of a body of which an error repeats parts


class UpstreamFailure(Exception):  # noqa: N818  it is the server's error, for the client
    """A call to the server failed; `code` is the name of gRPC's status."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details

    @property
    def text(self) -> str:
        """The text of tritonclient's exception for this failure."""
        return f"[StatusCode.{self.code}] {self.details}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return HTTP_STATUS.get(self.code, 500)

    def body(self) -> bytes:
        """Return the JSON that the client gets."""
        return orjson.dumps({"error": FAILED, "details": self.text})

    @staticmethod
    def of(error: SlipwayError) -> UpstreamFailure:
        """Return the failure for an error that was found here, in what the server sent."""
        return UpstreamFailure(STATUS_NAMES[error.code], error.message)


class RefusedBody(Exception):  # noqa: N818  it is the client's mistake, not an error of the proxy
    """A body does not fit a model; `problems` are pydantic's, with the places below `body`."""

    def __init__(self, problems: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.problems = problems

    def body(self, size: int) -> bytes:
        """Return FastAPI's JSON for status 422. What is wrong in a large body (`size` bytes) is not repeated."""
        shown = [
            {key: value for key, value in problem.items() if size <= _MAX_ECHO or key != "input"}
            for problem in self.problems
        ]
        return orjson.dumps({"detail": shown}, default=repr)


def problem(kind: str, place: Sequence[str | int], message: str, value: object, **context: object) -> dict[str, Any]:
    """Return one problem in the form that FastAPI gives it."""
    found = {"type": kind, "loc": ["body", *place], "msg": message, "input": value}
    return {**found, "ctx": context} if context else found


def plain_error(message: str) -> bytes:
    """Return the JSON for a request that does not get as far as a model."""
    return orjson.dumps({"error": message})
