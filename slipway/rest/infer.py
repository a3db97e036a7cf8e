"""POST /v2/models/NAME/infer: the hot path.

A request to a model that answers at once is decoded, executed, encoded and written without a task or a future. Bodies
that are slow to decode (compressed, or large JSON) are decoded in a thread, so that other clients do not wait.
"""

from __future__ import annotations

import asyncio
from typing import Final

from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw
from slipway.errors import SlipwayError, invalid, shown, unsupported
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body
from slipway.wire.compression import CODINGS, choose_coding, compress, decompress
from slipway.wire.encode import encode_infer
from slipway.wire.infer_request import ResponseEncoding, decode_infer
from slipway.wire.raw_request import decode_raw

_LENGTH: Final = b"inference-header-content-length"
_BINARY: Final = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n"
_IDENTITY: Final = b"identity"
_MAX_DIGITS: Final = 18
_LARGE_JSON: Final = 1 << 20  # decoding a megabyte of digits takes about 25 ms
_LARGE_ANSWER: Final = 1 << 16  # compressing 64 KiB takes about 1 ms


class InferCall:
    """One infer request being answered: `deliver` encodes its response and sends it."""

    __slots__ = ("_encoding", "_exchange", "_signature")

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
            document, blobs = encode_infer(response, self._encoding, self._signature)
        except SlipwayError as error:
            exchange.fail(error)
            return
        headers = _BINARY % len(document) if blobs else JSON
        accepted = exchange.headers.get(b"accept-encoding")
        if accepted is None or not (coding := choose_coding(accepted.decode("latin-1"))):
            exchange.answer(200, headers, document, *blobs)
        elif sum(map(len, blobs), len(document)) < _LARGE_ANSWER:
            exchange.answer(200, headers + _coding_line(coding), compress((document, *blobs), coding))
        else:
            exchange.run(_answer_compressed(exchange, headers, (document, *blobs), coding))


def infer(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer an infer request."""
    signature = context.dataplane.signature(target.model, target.version)
    if signature.decoupled:
        raise unsupported("HTTP end point doesn't support models with decoupled transaction policy")
    coding = exchange.headers.get(b"content-encoding", _IDENTITY)
    if coding != _IDENTITY and coding.decode("latin-1") not in CODINGS:
        exchange.answer(501, JSON + b"Accept-Encoding: gzip, deflate\r\n", error_body("Unsupported compression type"))
    elif coding != _IDENTITY or _is_large(exchange):
        exchange.run(_infer_in_thread(context, exchange, target, signature))
    else:
        try:
            request, encoding = _decode(exchange, exchange.body, target, signature)
        except SlipwayError:
            context.dataplane.record_rejected(target.model, target.version)
            raise
        _submit(context, exchange, request, InferCall(exchange, encoding, signature))


async def _infer_in_thread(
    context: Context, exchange: Exchange, target: ModelTarget, signature: ModelSignature
) -> None:
    try:
        request, encoding = await asyncio.to_thread(_decompress_and_decode, context, exchange, target, signature)
    except SlipwayError:
        context.dataplane.record_rejected(target.model, target.version)
        raise
    if not exchange.answered:
        _submit(context, exchange, request, InferCall(exchange, encoding, signature))


def _decompress_and_decode(
    context: Context, exchange: Exchange, target: ModelTarget, signature: ModelSignature
) -> tuple[InferRequest, ResponseEncoding]:
    body = exchange.body
    if exchange.headers.get(b"content-encoding", _IDENTITY) != _IDENTITY:
        body = decompress(body, context.options.max_input_size)
    return _decode(exchange, body, target, signature)


def _submit(context: Context, exchange: Exchange, request: InferRequest, call: InferCall) -> None:
    exchange.body = b""  # the tensors keep the body alive for as long as they need it
    pending = context.dataplane.submit(request, call.deliver)
    if not exchange.answered:
        exchange.on_disconnect = pending.cancel


def _decode(
    exchange: Exchange, body: bytes | bytearray, target: ModelTarget, signature: ModelSignature
) -> tuple[InferRequest, ResponseEncoding]:
    given = exchange.headers.get(_LENGTH)
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
    return decode_infer(target.model, target.version, body, json_size)


def _is_large(exchange: Exchange) -> bool:
    return len(exchange.body) > _LARGE_JSON and _LENGTH not in exchange.headers


def _coding_line(coding: str) -> bytes:
    return b"Content-Encoding: %b\r\n" % coding.encode()


async def _answer_compressed(exchange: Exchange, headers: bytes, parts: tuple[Raw, ...], coding: str) -> None:
    body = await asyncio.to_thread(compress, parts, coding)
    exchange.answer(200, headers + _coding_line(coding), body)
