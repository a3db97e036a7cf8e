"""Stored responses as bytes, for a cache outside this process: a JSON header, then the tensors. Pure.

What comes back is checked like any foreign data: another program may write to the same server.
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import Any, Final

from slipway.core.bytes_codec import TruncatedElementError, count_elements
from slipway.datatypes import BY_NAME
from slipway.response_cache.stored import StoredResponse, StoredTensor

_START: Final = struct.Struct("<4sI")  # the format, the size of the header in bytes
_FORMAT: Final = b"SLR1"
_PIECE: Final = 1 << 20  # bytes copied at once: a copy holds the interpreter lock


def encode_response(response: StoredResponse) -> bytearray:
    """Return the bytes of a response; large work if it is large."""
    tensors = [(tensor.name, tensor.datatype, tensor.shape, len(tensor.raw)) for tensor in response.tensors]
    header = json.dumps({"tensors": tensors, "parameters": response.parameters}).encode()
    encoded = bytearray(_START.pack(_FORMAT, len(header)) + header)
    for tensor in response.tensors:
        raw = memoryview(tensor.raw)
        for start in range(0, len(raw), _PIECE):
            encoded += raw[start : start + _PIECE]
    return encoded


def decode_response(encoded: bytes) -> StoredResponse:
    """Return the response, on views of the bytes; raise ValueError for bytes that `encode_response` did not write."""
    try:
        found, size = _START.unpack_from(encoded)
        body = _START.size + size
        if found != _FORMAT or body > len(encoded):
            raise ValueError("it has another format")
        header = json.loads(encoded[_START.size : body])
        tensors = []
        for name, datatype, shape, length in header["tensors"]:
            raw = memoryview(encoded)[body : body + length]
            tensors.append(_tensor(name, datatype, shape, raw))
            body += length
        parameters = tuple(_parameter(*each) for each in header["parameters"])
    except (struct.error, KeyError, TypeError, RecursionError, TruncatedElementError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    if body != len(encoded):
        raise ValueError(f"it has {len(encoded)} bytes instead of {body}")
    return StoredResponse.made_of(tuple(tensors), parameters)


def _tensor(name: Any, datatype: Any, shape: Any, raw: memoryview) -> StoredTensor:
    if not isinstance(name, str) or datatype not in BY_NAME:
        raise ValueError("a tensor has no name or an unknown datatype")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"tensor '{name}' has shape {shape}")
    elements = prod(shape)
    count = count_elements(raw) if datatype == "BYTES" else len(raw) / BY_NAME[datatype].numpy.itemsize
    if count != elements:
        raise ValueError(f"tensor '{name}' has {count} elements instead of {elements}")
    return StoredTensor(name, datatype, tuple(shape), raw)


def _parameter(name: Any, value: Any) -> tuple[str, str | int | float | bool]:
    if isinstance(name, str) and isinstance(value, str | int | float):
        return name, value
    raise ValueError("a parameter has no name or no value")
