"""Infer requests as the platforms of clouds send them: the size of the JSON part is in the content type.

Source: Triton `src/sagemaker_server.cc` and `src/vertex_ai_server.cc`. Bodies are not compressed there, and no header
becomes a parameter.
"""

from __future__ import annotations

from typing import Final

from slipway.errors import invalid, shown
from slipway.rest import generate, infer
from slipway.rest.context import Context, ModelTarget, Route
from slipway.rest.exchange import Exchange
from slipway.rest.infer import LENGTH, InferCall

_REPLACED: Final = (LENGTH, b"content-encoding", b"accept-encoding")


def infer_route(binary_type: bytes, call_type: type[InferCall]) -> Route:
    """Return the handler of infer requests whose content type is `binary_type`, followed by the size of the JSON part,
    if they have binary tensors; `call_type` answers them."""

    def handle(context: Context, exchange: Exchange, target: ModelTarget) -> None:
        _translate(exchange, binary_type)
        infer.infer(context, exchange, target, call_type)

    return handle


def plain_generate(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer a generate request."""
    _translate(exchange, b"")
    generate.generate(context, exchange, target)


def plain_generate_stream(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer a generate request with events."""
    _translate(exchange, b"")
    generate.generate_stream(context, exchange, target)


def binary_head(binary_type: bytes) -> bytes:
    """Return the header lines of a response with binary tensors, with a place for the size of its JSON part."""
    return b"Content-Type: %b%%d\r\n" % binary_type


def _translate(exchange: Exchange, binary_type: bytes) -> None:
    """Replace the headers by those that an infer request has elsewhere; raise INVALID_ARG, with Triton's texts."""
    given = exchange.headers.get(b"content-type", b"")
    headers = {name: value for name, value in exchange.headers.items() if name not in _REPLACED}
    before, found, size = given.partition(binary_type) if binary_type else (given, b"", b"")
    if found:
        if before:
            kind, text = binary_type.decode(), shown(given.decode("latin-1"))
            raise invalid(f"expect MIME type for binary data starts with '{kind}', got: {text}")
        if not size.strip().removeprefix(b"-").isdigit():
            raise invalid(f"Unable to parse inference header size, got: {shown(size.decode('latin-1'))}")
        headers[LENGTH] = size.strip()
    exchange.headers = headers
