"""POST /v2/models/NAME/infer: the hot path.

A request to a model that answers at once is decoded, executed, encoded and written without a task or a future. What is
slow to decode (compressed bodies, large JSON, large BYTES) or to encode (large JSON, many classes) is done in a thread,
so that other clients do not wait; the sizes are known before the work begins.
"""

from __future__ import annotations

import asyncio
from typing import Final

from slipway.config.header_pattern import HeaderPattern
from slipway.core.large_work import LARGE, run_large
from slipway.core.repeats import LARGEST_REPEAT, Repeat, Repeats
from slipway.core.request import InferRequest, InferResponse
from slipway.core.shared_bytes import Body
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw
from slipway.errors import SlipwayError, invalid, shown, unsupported
from slipway.rest import explained, traced
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.framing import HttpHead
from slipway.rest.large_answer import answer_compressed, answer_large, coding_line
from slipway.rest.response import BINARY, JSON, error_body
from slipway.wire.compression import CODINGS, choose_coding, compress, decompress
from slipway.wire.encode import encode_infer
from slipway.wire.infer_request import ResponseEncoding, decode_infer
from slipway.wire.raw_request import decode_raw

LENGTH: Final = b"inference-header-content-length"
_IDENTITY: Final = b"identity"
_HEADER: Final = 200  # bytes of Python's objects for one
_MAX_DIGITS: Final = 18
_LARGE_ANSWER: Final = 1 << 16  # compressing 64 KiB takes about 1 ms


class InferCall:
    """One infer request being answered: `deliver` encodes its response and sends it."""

    __slots__ = ("_encoding", "_exchange", "_signature")
    binary_head = BINARY  # the header lines of a response with binary tensors, with the size of its JSON part

    def __init__(self, exchange: Exchange, encoding: ResponseEncoding, signature: ModelSignature) -> None:
        self._exchange = exchange
        self._encoding = encoding
        self._signature = signature

    def deliver(self, response: InferResponse) -> None:
        """Encode and send the response."""
        exchange = self._exchange
        if response.error is not None:
            exchange.fail(response.error)
            return
        try:
            encoded = encode_infer(response, self._encoding, self._signature)
        except SlipwayError as error:
            exchange.fail(error)
            return
        except Exception as error:  # noqa: BLE001  the caller is the model's: it answers nobody
            exchange.fail_unexpectedly(error)
            return
        if encoded is None:
            exchange.run(answer_large(exchange, response, self._encoding, self._signature, self.binary_head))
            return
        document, blobs = encoded
        headers = self.binary_head % len(document) if blobs else JSON
        accepted = exchange.headers.get(b"accept-encoding")
        if accepted is None or not (coding := choose_coding(accepted.decode("latin-1"))):
            self._answer(response, headers, document, *blobs)
        elif sum(map(len, blobs), len(document)) < _LARGE_ANSWER:
            self._answer(response, headers + coding_line(coding), compress((document, *blobs), coding))
        else:
            exchange.run(answer_compressed(exchange, headers, (document, *blobs), coding))

    def _answer(self, response: InferResponse, headers: bytes, *parts: Raw) -> None:  # noqa: ARG002
        self._exchange.answer(200, headers, *parts)


class RepeatableCall(InferCall):
    """A call whose response, if it comes from the response cache, is kept for those who send equal bytes."""

    __slots__ = ("_asked", "_repeats")

    def __init__(
        self, exchange: Exchange, encoding: ResponseEncoding, signature: ModelSignature, repeats: Repeats[HttpHead]
    ) -> None:
        super().__init__(exchange, encoding, signature)
        self._repeats = repeats
        self._asked = exchange.body if len(exchange.body) <= LARGEST_REPEAT else b""

    def _answer(self, response: InferResponse, headers: bytes, *parts: Raw) -> None:
        super()._answer(response, headers, *parts)
        if response.again is not None and self._asked:
            answer, head = (headers, b"".join(parts)), self._exchange.head
            size = sum(len(name) + len(value) + _HEADER for name, value in head.headers.items()) + len(head.path)
            repeat = Repeat(head, self._signature, response.again, answer, size)
            self._repeats.keep(bytes(self._asked), repeat)


def _answered_again(
    context: Context, repeats: Repeats[HttpHead], exchange: Exchange, signature: ModelSignature
) -> bool:
    """Answer a request whose bytes got a cached response before; return whether that was possible."""
    plane, body = context.dataplane, exchange.body
    if len(body) > LARGEST_REPEAT or plane.tracing.active or plane.log_settings.verbose:
        return False
    kept = repeats.find(bytes(body))
    if kept is None or kept.signature is not signature or kept.head != exchange.head or not kept.again():
        return False
    exchange.answer(200, *kept.parts)
    return True


def infer(context: Context, exchange: Exchange, target: ModelTarget, call_type: type[InferCall] = InferCall) -> None:
    """Answer an infer request; a `call_type` other than the usual one answers in another form."""
    signature = context.dataplane.signature(target.model, target.version)
    repeats = context.repeats
    if repeats is not None and _answered_again(context, repeats, exchange, signature):
        return
    if signature.decoupled:
        raise unsupported("HTTP end point doesn't support models with decoupled transaction policy")
    coding = exchange.headers.get(b"content-encoding", _IDENTITY)
    if coding != _IDENTITY and coding.decode("latin-1") not in CODINGS:
        exchange.answer(501, JSON + b"Accept-Encoding: gzip, deflate\r\n", error_body("Unsupported compression type"))
    elif coding != _IDENTITY or _is_large(exchange):
        exchange.run(_infer_in_thread(context, exchange, target, signature, call_type))
    else:
        try:
            request, encoding = _decode(context, exchange, exchange.body, target, signature)
        except SlipwayError:
            context.dataplane.record_rejected(target.model, target.version)
            raise
        if repeats is None or type(request) is not InferRequest:  # what is in shared memory may change
            call = call_type(exchange, encoding, signature)
        else:
            call = RepeatableCall(exchange, encoding, signature, repeats)
        if len(exchange.body) > LARGE and request.has_large_strings:
            exchange.run(_submit_counted(context, exchange, request, call))
        else:
            _submit(context, exchange, request, call)


async def _submit_counted(context: Context, exchange: Exchange, request: InferRequest, call: InferCall) -> None:
    await run_large(request.count_strings)
    if not exchange.answered:
        _submit(context, exchange, request, call)


async def _infer_in_thread(
    context: Context,
    exchange: Exchange,
    target: ModelTarget,
    signature: ModelSignature,
    call_type: type[InferCall],
) -> None:
    run = run_large if len(exchange.body) > LARGE else asyncio.to_thread  # small bodies do not wait for large ones
    try:
        body: Body = exchange.body
        if exchange.headers.get(b"content-encoding", _IDENTITY) != _IDENTITY:
            body = await run(decompress, exchange.text(), context.options.max_input_size)
            if len(body) > LARGE:
                exchange.hold(len(body))
                run = run_large
        request, encoding = await run(_decode_and_count, context, exchange, body, target, signature)
    except SlipwayError:
        context.dataplane.record_rejected(target.model, target.version)
        raise
    if not exchange.answered:
        _submit(context, exchange, request, call_type(exchange, encoding, signature))


def _decode_and_count(
    context: Context, exchange: Exchange, body: Body, target: ModelTarget, signature: ModelSignature
) -> tuple[InferRequest, ResponseEncoding]:
    request, encoding = _decode(context, exchange, body, target, signature)
    request.count_strings()
    return request, encoding


def _submit(context: Context, exchange: Exchange, request: InferRequest, call: InferCall) -> None:
    asks = exchange.head.explain is not None or request.explanation is not None
    if asks and not explained.admit(context, exchange, request):
        return
    if context.options.forward is not None:
        _forward_headers(context, exchange, request, context.options.forward)
    exchange.body = b""  # the tensors keep the body alive for as long as they need it
    if context.dataplane.tracing.active:
        traced.submit(context.dataplane, exchange, request, call.deliver)
        return
    pending = context.dataplane.submit(request, call.deliver)
    if not pending.finished:
        exchange.on_disconnect = pending.cancel


def _forward_headers(context: Context, exchange: Exchange, request: InferRequest, pattern: HeaderPattern) -> None:
    spelling = exchange.head.spelling
    try:
        for name, value in exchange.headers.items():
            pattern.add(spelling.get(name, name).decode("latin-1"), value, request.parameters)
    except SlipwayError:
        context.dataplane.record_rejected(request.model_name, request.model_version)
        raise


def _decode(
    context: Context, exchange: Exchange, body: Body, target: ModelTarget, signature: ModelSignature
) -> tuple[InferRequest, ResponseEncoding]:
    given = exchange.headers.get(LENGTH)
    if given is None:
        json_size = len(body)
    else:
        json_size = int(given) if given.isdigit() and len(given) <= _MAX_DIGITS else -1
        if not 0 <= json_size <= len(body):
            raise invalid(
                f"inference header size should be in range (0, {len(body)}), got: {shown(given.decode('latin-1'))}"
            )
        if json_size == 0:
            return decode_raw(target.version, body, signature)
    return decode_infer(target.model, target.version, body, json_size, context.dataplane.regions)


def _is_large(exchange: Exchange) -> bool:
    """Return whether the JSON part is large. A header that is not a size does not say so: `_decode` refuses it."""
    if len(exchange.body) <= LARGE:
        return False
    given = exchange.headers.get(LENGTH)
    return given is None or not given.isdigit() or len(given) > _MAX_DIGITS or int(given) > LARGE
