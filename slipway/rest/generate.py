"""POST /v2/models/NAME/generate and /generate_stream. Source: Triton extension_generate.md."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from slipway.core.explanation import EXPLAIN
from slipway.core.large_work import LARGE, run_large
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.errors import SlipwayError, internal, invalid
from slipway.rest import explained, traced
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import HTTP_STATUS, JSON, error_body
from slipway.wire.generate import decode_generate, encode_generate, encode_large_generate

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
        if response.empty and self._responses:
            self._responses[0].parameters.update(response.parameters)  # the explanation, which is complete only now
        try:
            answer = self._answer()
            document = encode_generate(answer)
            if document is None:
                self._exchange.run(_answer_large(self._exchange, answer))
            else:
                self._exchange.answer(200, JSON, document)
        except SlipwayError as error:
            self._exchange.fail(error)
        except Exception as error:  # noqa: BLE001  the caller is the model's: it answers nobody
            self._exchange.fail_unexpectedly(error)

    def _answer(self) -> InferResponse:
        for response in self._responses:
            if response.error is not None:
                raise response.error
        if len(self._responses) != 1:
            raise internal(_NOT_ONE)
        return self._responses[0]


async def _answer_large(exchange: Exchange, response: InferResponse) -> None:
    exchange.answer(200, JSON, *await run_large(encode_large_generate, response))


class StreamCall:
    """Sends every response as a server-sent event; the first one decides the HTTP status. An empty final response has
    one only if it carries the explanation that the client asked for."""

    __slots__ = ("_exchange", "_waiting", "_waiting_bytes")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._waiting: deque[tuple[InferResponse, int]] = deque()  # a large one that is being encoded, those after it
        self._waiting_bytes = 0
        exchange.on_half_close = self._probe

    def deliver(self, response: InferResponse) -> None:
        """Send a response; an empty final response only ends the stream."""
        if self._exchange.is_lost:
            return
        if self._waiting:
            self._wait(response)
            self._exchange.bound_stream(self._waiting_bytes)
            return
        event = self._event(response, encode_generate)
        if event is None:
            self._wait(response)
            self._exchange.run(self._send_waiting())
        else:
            self._send(response, *event)

    def _wait(self, response: InferResponse) -> None:
        size = sum(tensor.byte_size for tensor in response.outputs)
        self._waiting.append((response, size))
        self._waiting_bytes += size

    async def _send_waiting(self) -> None:
        while self._waiting:
            response, size = self._waiting[0]
            event = await run_large(self._event, response, _encode_any)
            if event is not None:
                self._send(response, *event)
            self._waiting.popleft()
            self._waiting_bytes -= size

    def _send(self, response: InferResponse, status: int, event: bytes) -> None:
        self._exchange.begin_stream(status, _EVENTS)
        if event:
            self._exchange.stream(b"data: %b\n\n" % event)
        if response.final:
            self._exchange.end_stream()

    def _event(
        self, response: InferResponse, encode: Callable[[InferResponse], bytes | None]
    ) -> tuple[int, bytes] | None:
        """Return the HTTP status of a stream that begins with `response`, and its event, b"" if it has none; None if
        `encode` declines it. A response that cannot be encoded becomes an error, and those after it are sent."""
        if response.error is not None:
            return _error_event(response.error)
        if response.empty and EXPLAIN not in response.parameters:
            return 200, b""
        try:
            event = encode(response)
        except SlipwayError as error:
            return _error_event(error)
        except Exception as error:  # noqa: BLE001  the stream has begun: only an event can report the bug
            return _error_event(self._exchange.unexpected(error))
        return None if event is None else (200, event)

    def _probe(self) -> None:
        """Send a comment, which fails if the client has closed the connection and not only its own side of it."""
        self._exchange.begin_stream(200, _EVENTS)
        self._exchange.stream(_COMMENT)


def _error_event(error: SlipwayError) -> tuple[int, bytes]:
    return HTTP_STATUS[error.code], error_body(error.message)


def _encode_any(response: InferResponse) -> bytes:
    return encode_generate(response) or b"".join(encode_large_generate(response))


def generate(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer with one JSON object."""
    _submit(context, exchange, target, GenerateCall(exchange))


def generate_stream(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer with server-sent events."""
    _submit(context, exchange, target, StreamCall(exchange))


def _submit(context: Context, exchange: Exchange, target: ModelTarget, call: GenerateCall | StreamCall) -> None:
    signature = context.dataplane.signature(target.model, target.version)
    if len(exchange.body) > LARGE:
        exchange.run(_submit_large(context, exchange, target, call, signature))
        return
    try:
        request = _decode(exchange, target, signature)
    except SlipwayError:
        context.dataplane.record_rejected(target.model, target.version)
        raise
    _start(context, exchange, request, call)


async def _submit_large(
    context: Context,
    exchange: Exchange,
    target: ModelTarget,
    call: GenerateCall | StreamCall,
    signature: ModelSignature,
) -> None:
    try:
        request = await run_large(_decode, exchange, target, signature)
    except SlipwayError:
        context.dataplane.record_rejected(target.model, target.version)
        raise
    if not exchange.answered:
        _start(context, exchange, request, call)


def _start(context: Context, exchange: Exchange, request: InferRequest, call: GenerateCall | StreamCall) -> None:
    asks = exchange.head.explain is not None or request.explanation is not None
    if asks and not explained.admit(context, exchange, request):
        return
    exchange.body = b""
    if context.dataplane.tracing.active:
        traced.submit(context.dataplane, exchange, request, call.deliver)
        return
    pending = context.dataplane.submit(request, call.deliver)
    if not pending.finished:
        exchange.on_disconnect = pending.cancel


def _decode(exchange: Exchange, target: ModelTarget, signature: ModelSignature) -> InferRequest:
    if exchange.headers.get(b"content-encoding", b"identity") != b"identity":
        raise invalid("Unsupported content-encoding, only 'identity' is supported.")
    return decode_generate(exchange.text(), target.version, signature)
