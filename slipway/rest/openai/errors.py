"""Errors as these APIs write them: OpenAI's envelope, and that of text-embeddings-inference.

Sources: OpenAI's API reference ("Error codes") and openai-openapi, `Error`; text-embeddings-inference, `ErrorResponse`.
OpenAI's clients repeat a request that failed with 408, 409, 429 or any status from 500 on, so what cannot pass has a
status from 400 on.
"""

from __future__ import annotations

from typing import Final

import orjson

from slipway.errors import Code, SlipwayError
from slipway.rest.response import HTTP_STATUS

TOO_LONG: Final = "context_length_exceeded"
_REQUEST: Final = "invalid_request_error"
# Types by status; any other status below 500 is that of a wrong request.
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES: Final = {Code.NOT_FOUND: "model_not_found"}
_STATUS: Final = {**HTTP_STATUS, Code.UNSUPPORTED: 400}
# ErrorType of text-embeddings-inference by status; any other is that of a wrong request.
_KINDS: Final = {422: "Tokenizer", 424: "Backend", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}


class ApiError(SlipwayError):
    """A refused request, as OpenAI's envelope describes it: `parameter` is the field at fault, `kind` a word for
    programs (`code` on the wire), `status` the HTTP status."""

    def __init__(
        self, message: str, parameter: str | None = None, *, kind: str | None = None, status: int = 400
    ) -> None:
        super().__init__(Code.INVALID_ARG, message)
        self.parameter = parameter
        self.kind = kind
        self.status = status


def openai_envelope(status: int, message: str, error: SlipwayError | None) -> tuple[int, bytes]:
    """Return the status and body of an error as OpenAI writes them."""
    parameter = kind = None
    if isinstance(error, ApiError):
        status, parameter, kind = error.status, error.parameter, error.kind
    elif error is not None:
        status, kind = _STATUS[error.code], _CODES.get(error.code)
    document = {
        "message": _encodable(message),
        "type": _TYPES.get(status, _REQUEST if status < 500 else "server_error"),
        "param": _encodable(parameter) if parameter is not None else None,
        "code": kind,
    }
    return status, orjson.dumps({"error": document})


def tei_envelope(status: int, message: str, error: SlipwayError | None) -> tuple[int, bytes]:
    """Return the status and body of an error as text-embeddings-inference writes them."""
    if isinstance(error, ApiError):
        status = 413 if error.kind == TOO_LONG else error.status
    elif error is not None:
        status = _STATUS[error.code]
    return status, orjson.dumps({"error": _encodable(message), "error_type": _KINDS.get(status, "Validation")})


def _encodable(text: str) -> str:
    """Return the text with characters replaced that UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
