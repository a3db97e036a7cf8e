"""The response to an infer request that takes long to encode: encoded in a thread, a piece at a time.

Numbers as JSON take several times the memory of the tensor. So a response of numbers alone is sent while it is encoded,
as fast as the client reads it, and only a few pieces are in memory. Other ones are encoded first: the client has to
know the size of the JSON part before the binary outputs, and strings may turn out not to be UTF-8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Final

from slipway.core.budget import SHARE
from slipway.core.large_work import run_large
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON
from slipway.wire.compression import Compressor, choose_coding, compress
from slipway.wire.encode import encode_large_infer
from slipway.wire.infer_request import ResponseEncoding

_STREAMED_FROM: Final = 4 << 20  # bytes of JSON: up to here the response has a length
_AT_A_TIME: Final = 1 << 20  # bytes of JSON that are encoded, sent and waited for together


async def answer_large(
    exchange: Exchange,
    response: InferResponse,
    encoding: ResponseEncoding,
    signature: ModelSignature,
    binary_head: bytes,
) -> None:
    """Encode and send the response, with the header lines `binary_head` if it has binary tensors; raise `SlipwayError`
    if it cannot be encoded or held in memory."""
    exchange.hold_at_least(
        sum(tensor.byte_size for tensor in response.outputs) // SHARE
    )  # until the client has read it
    large = await run_large(encode_large_infer, response, encoding, signature)
    coding = choose_coding(exchange.headers.get(b"accept-encoding", b"").decode("latin-1"))
    begun = await run_large(_take, large.pieces, _STREAMED_FROM)
    if _size(begun) >= _STREAMED_FROM:
        if large.is_certain and not large.blobs:
            await _stream(exchange, begun, large.pieces, coding)
            return
        await _take_all(exchange, begun, large.pieces)
    headers = binary_head % _size(begun) if large.blobs else JSON
    if coding:
        await answer_compressed(exchange, headers, (*begun, *large.blobs), coding)
    else:
        exchange.answer(200, headers, *begun, *large.blobs)


async def answer_compressed(exchange: Exchange, headers: bytes, parts: tuple[Raw, ...], coding: str) -> None:
    """Compress the parts in a thread, and send them as one body."""
    body = await asyncio.to_thread(compress, parts, coding)
    exchange.answer(200, headers + coding_line(coding), body)


def coding_line(coding: str) -> bytes:
    """Return the header line that names the coding of a body."""
    return b"Content-Encoding: %b\r\n" % coding.encode()


async def _stream(exchange: Exchange, begun: list[bytes], pieces: Iterator[bytes], coding: str) -> None:
    compressor = Compressor(coding) if coding else None
    exchange.begin_stream(200, JSON + (coding_line(coding) if coding else b""))
    waiting = chain(begun, pieces)
    while (data := await run_large(_next_part, waiting, compressor)) is not None:
        if data:
            exchange.stream(data)
            await exchange.drained()
    exchange.end_stream()


def _next_part(pieces: Iterator[bytes], compressor: Compressor | None) -> bytes | None:
    """Return the next part of a streamed body, None after its end. The compressor may keep back what it was given."""
    part = b"".join(_take(pieces, _AT_A_TIME))
    if compressor is None:
        return part or None
    if part:
        return compressor.add(part)
    return compressor.end()


async def _take_all(exchange: Exchange, begun: list[bytes], pieces: Iterator[bytes]) -> None:
    """Append the rest of the pieces to `begun`; raise UNAVAILABLE once they are more than may be held in memory."""
    size = _size(begun)
    while more := await run_large(_take, pieces, _STREAMED_FROM):
        size += _size(more)
        exchange.hold_at_least(size)
        begun += more


def _take(pieces: Iterator[bytes], size: int) -> list[bytes]:
    """Return the next pieces, `size` bytes of them or a little more; fewer at the end."""
    taken: list[bytes] = []
    while size > 0 and (piece := next(pieces, None)) is not None:
        taken.append(piece)
        size -= len(piece)
    return taken


def _size(parts: list[bytes]) -> int:
    return sum(map(len, parts))
