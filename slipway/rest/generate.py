"""POST /v2/models/NAME/generate and /generate_stream. Source: Triton extension_generate.md."""

from __future__ import annotations

from typing import Final

from slipway.core.request import InferRequest, InferResponse
from slipway.errors import SlipwayError, internal, invalid
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import HTTP_STATUS, JSON, error_body
from slipway.wire.generate import decode_generate, encode_generate

_EVENTS: Final = b"Content-Type: text/event-stream; charset=utf-8\r\n"
_COMMENT: Final = b":\n\n"  # ignored by clients (WHATWG HTML, 9.2.6)
_NOT_ONE: Final = (
    "generate expects model to produce exactly 1 response, use generate stream for model that generates various "
    "number of responses"
)


class GenerateCall:
    """Collects the responses to a generate request; there must be exactly one."""

    __slots__ = ("_exchange", "_responses")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._responses: list[InferResponse] = []

    def deliver(self, response: InferResponse) -> None:
        """Take a response; after the final one send the HTTP response."""
        if not response.empty and len(self._responses) < 2:
            self._responses.append(response)
        if not response.final:
            return
        try:
            self._exchange.answer(200, JSON, self._document())
        except SlipwayError as error:
            self._exchange.fail(error)

    def _document(self) -> bytes:
        for response in self._responses:
            if response.error is not None:
                raise response.error
        if len(self._responses) != 1:
            raise internal(_NOT_ONE)
        return encode_generate(self._responses[0])


class StreamCall:
    """Sends every response as a server-sent event; the first one decides the HTTP status."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.on_half_close = self._probe

    def deliver(self, response: InferResponse) -> None:
        """Send a response; an empty final response only ends the stream."""
        status, event = 200, b""
        try:
            if response.error is not None:
                raise response.error
            if not response.empty:
                event = encode_generate(response)
        except SlipwayError as error:
            status, event = HTTP_STATUS[error.code], error_body(error.message)
        self._exchange.begin_stream(status, _EVENTS)
        if event:
            self._exchange.stream(b"data: %b\n\n" % event)
        if response.final:
            self._exchange.end_stream()

    def _probe(self) -> None:
        """Send a comment, which fails if the client has closed the connection and not only its own side of it."""
        self._exchange.begin_stream(200, _EVENTS)
        self._exchange.stream(_COMMENT)


def generate(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer with one JSON object."""
    _submit(context, exchange, target, GenerateCall(exchange))


def generate_stream(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer with server-sent events."""
    _submit(context, exchange, target, StreamCall(exchange))


def _submit(context: Context, exchange: Exchange, target: ModelTarget, call: GenerateCall | StreamCall) -> None:
    request = _decode(context, exchange, target)
    exchange.body = b""
    pending = context.dataplane.submit(request, call.deliver)
    if not pending.finished:
        exchange.on_disconnect = pending.cancel


def _decode(context: Context, exchange: Exchange, target: ModelTarget) -> InferRequest:
    signature = context.dataplane.signature(target.model, target.version)
    try:
        if exchange.headers.get(b"content-encoding", b"identity") != b"identity":
            raise invalid("Unsupported content-encoding, only 'identity' is supported.")
        return decode_generate(exchange.body, target.version, signature)
    except SlipwayError:
        context.dataplane.record_rejected(target.model, target.version)
        raise
