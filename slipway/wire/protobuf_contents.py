"""Read the typed contents of a large ModelInferRequest in pieces, without an object or 16 bytes per element.

The protobuf library reads a message in one call, during which no other thread runs, and keeps four to sixteen times its
size. This reads messages of the form that clients send: every input has contents, in one field, packed where numbers
are. It returns None for anything else, which the library then parses if the message is of a bounded size.
Source: https://protobuf.dev/programming-guides/encoding/; field numbers from grpc_service.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from slipway.core.tensor import Raw
from slipway.datatypes import BY_NAME
from slipway.errors import invalid
from slipway.wire.protobuf_split import fields, varint

MAX_PARSED_BYTES: Final = 2 << 20  # by the protobuf library, whose objects take up to 140 times the message

_INPUTS: Final = (5 << 3) | 2  # of ModelInferRequest
_RAW: Final = (7 << 3) | 2
_CONTENTS: Final = (5 << 3) | 2  # of InferInputTensor
_BYTES: Final = (8 << 3) | 2  # of InferTensorContents, like the following
_FLOATS: Final = {(6 << 3) | 2: "FP32", (7 << 3) | 2: "FP64"}
_VARINTS: Final = {
    (1 << 3) | 2: ("BOOL",),
    (2 << 3) | 2: ("INT8", "INT16", "INT32"),
    (3 << 3) | 2: ("INT64",),
    (4 << 3) | 2: ("UINT8", "UINT16", "UINT32"),
    (5 << 3) | 2: ("UINT64",),
}
_PIECE: Final = 256 << 10  # bytes
_LONGEST: Final = 10  # bytes of a number
_LENGTH: Final = struct.Struct("<I").pack


def split_typed_contents(payload: bytes) -> tuple[service_pb2.ModelInferRequest, list[Raw]] | None:
    """Return the message without contents, and these in wire form; None if the library has to parse it.

    Raise `SlipwayError` (INVALID_ARG) if what the library has to parse beside the contents is too large.
    """
    view = memoryview(payload)
    kept: list[memoryview] = []
    inputs: list[tuple[bytes, memoryview]] = []
    size = 0
    try:
        for tag, start, value, stop in fields(payload, 0, len(payload)):
            if tag == _RAW:
                return None
            if tag == _INPUTS:
                inputs.append(_split_input(payload, view, value, stop))
                size += len(inputs[-1][0])
            else:
                kept.append(view[start:stop])
                size += stop - start
        if size > MAX_PARSED_BYTES:
            raise invalid(
                f"the names, shapes, parameters and outputs of a request exceed {MAX_PARSED_BYTES} bytes; only tensor "
                "data may be larger"
            )
        message = service_pb2.ModelInferRequest()
        for outside, _ in inputs:
            message.inputs.append(service_pb2.ModelInferRequest.InferInputTensor.FromString(outside))
        message.MergeFromString(b"".join(kept))
        return message, [_wire_form(*each) for each in zip(message.inputs, (c for _, c in inputs), strict=True)]
    except (DecodeError, ValueError, IndexError, KeyError):
        return None


def _split_input(payload: bytes, view: memoryview, start: int, stop: int) -> tuple[bytes, memoryview]:
    """Return an input without its contents, and these; raise ValueError unless it has them once."""
    contents = []
    kept = []
    for tag, begin, value, end in fields(payload, start, stop):
        if tag == _CONTENTS:
            contents.append(view[value:end])
        else:
            kept.append(view[begin:end])
    (found,) = contents
    return b"".join(kept), found


def _wire_form(tensor: service_pb2.ModelInferRequest.InferInputTensor, contents: memoryview) -> Raw:
    """Return the contents as raw contents; raise ValueError if they are not one field of the input's datatype."""
    if not contents:
        return b""
    tag, offset = varint(contents, 0)
    if tag == _BYTES and tensor.datatype == "BYTES":
        return _strings(contents)
    size, offset = varint(contents, offset)
    if offset + size != len(contents):
        raise ValueError
    packed = contents[offset:]
    if _FLOATS.get(tag) == tensor.datatype:
        if len(packed) % BY_NAME[tensor.datatype].size:
            raise ValueError
        return packed
    if tensor.datatype not in _VARINTS.get(tag, ()):
        raise ValueError
    return _numbers(packed, tensor.datatype)


def _strings(contents: memoryview) -> memoryview:
    raw = bytearray()
    offset, end = 0, len(contents)
    while offset < end:
        if contents[offset] != _BYTES:
            raise ValueError
        size, start = varint(contents, offset + 1)
        offset = start + size
        if offset > end:
            raise ValueError
        raw += _LENGTH(size)
        raw += contents[start:offset]
    return memoryview(raw).toreadonly()


def _numbers(packed: memoryview, datatype: str) -> memoryview:
    """Return packed varints as numbers; like the library, keep the low bits of those that are too long."""
    row = BY_NAME[datatype].numpy
    count = sum(int(np.count_nonzero(piece < 0x80)) for piece in _pieces(packed))
    array = np.empty(count, row)
    filled = 0
    for piece in _pieces(packed):
        numbers = _varints(piece)
        array[filled : filled + numbers.size] = numbers != 0 if row.kind == "b" else numbers.astype(row)
        filled += numbers.size
    return array.data.cast("B").toreadonly() if count else memoryview(b"")


def _pieces(packed: memoryview) -> Iterator[np.ndarray]:
    """Yield the bytes between ends of numbers; raise ValueError for a number that does not end."""
    start = 0
    while start < len(packed):
        piece = np.frombuffer(packed[start : start + _PIECE], np.uint8)
        tail = np.flatnonzero(piece[-_LONGEST:] < 0x80)
        if not tail.size:
            raise ValueError
        stop = max(piece.size - _LONGEST, 0) + int(tail[-1]) + 1
        yield piece[:stop]
        start += stop


def _varints(piece: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(piece < 0x80)
    if ends.size == piece.size:  # numbers below 128
        return piece.astype(np.uint64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > _LONGEST:
        raise ValueError
    places = np.arange(piece.size) - np.repeat(starts, sizes)
    bits = (piece & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.add.reduceat(bits, starts)
