"""Encode an `InferResponse` for HTTP: a JSON part, then the binary outputs in order.

The parts are returned unjoined, so a large output is never copied here. `encode_infer` declines responses that would
keep the event loop; `encode_large_infer` writes those in pieces, in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from slipway.core.bytes_codec import decode_bytes
from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw, Tensor
from slipway.regions.request import PlacedOutput
from slipway.wire.classification import classify
from slipway.wire.infer_request import ResponseEncoding
from slipway.wire.json_pieces import array_pieces, is_finite, refuse_halves, texts_of, tokens

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_infer(
    response: InferResponse, encoding: ResponseEncoding, signature: ModelSignature
) -> tuple[bytes, list[Raw]] | None:
    """Return the JSON part and the binary outputs that follow it; None if the response is large. Raise `SlipwayError`
    for data that JSON cannot represent."""
    blobs: list[Raw] = []
    outputs: list[dict[str, Any]] = []
    requested = encoding.outputs
    binary, classes = encoding.binary, 0
    for tensor in response.outputs:
        if requested:
            chosen = requested.get(tensor.name)
            if chosen is None:
                continue
            binary, classes = chosen.binary, chosen.classes
        if classes:
            if tensor.element_count > LARGE_COUNT:
                return None
            tensor = _classified(tensor, classes, signature)  # noqa: PLW2901  the classified output replaces the tensor
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary:
            if tensor.datatype == "BYTES" and tensor.is_large_to_pack:
                return None
            raw = tensor.raw
            entry["parameters"] = {"binary_data_size": len(raw)}
            blobs.append(raw)
        elif type(tensor) is not PlacedOutput:  # a third of what `isinstance` takes
            data = json_data(tensor)
            if data is None:
                return None
            entry["data"] = data
        outputs.append(entry)
    document = _members(response)
    document["outputs"] = outputs
    return orjson.dumps(document, option=_OPTIONS), blobs


@dataclass(frozen=True, slots=True)
class LargeInfer:
    """A large response, encoded: its JSON part in pieces, which are made as they are taken, and the binary outputs.

    `is_certain` says that no piece will be refused: only strings can be, if they are not UTF-8.
    """

    pieces: Iterator[bytes]
    blobs: list[Raw]
    is_certain: bool


def encode_large_infer(response: InferResponse, encoding: ResponseEncoding, signature: ModelSignature) -> LargeInfer:
    """Return what `encode_infer` would return, with the JSON part in pieces; for threads, as is taking the pieces.

    Also raises INVALID_ARG for strings that exceed the limit of a response.
    """
    response.limit_exactly()
    if response.error is not None:
        raise response.error
    outputs: list[tuple[bytes, Tensor | None]] = []
    blobs: list[Raw] = []
    requested = encoding.outputs
    binary, classes = encoding.binary, 0
    is_certain = True
    for tensor in response.outputs:
        if requested:
            chosen = requested.get(tensor.name)
            if chosen is None:
                continue
            binary, classes = chosen.binary, chosen.classes
        if classes:
            tensor = _classified(tensor, classes, signature)  # noqa: PLW2901  as above
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary:
            blobs.append(tensor.raw)
            entry["parameters"] = {"binary_data_size": len(tensor.raw)}
            outputs.append((orjson.dumps(entry), None))
        elif isinstance(tensor, PlacedOutput):
            outputs.append((orjson.dumps(entry), None))
        else:
            refuse_halves(tensor)
            is_certain &= tensor.datatype != "BYTES"
            outputs.append((orjson.dumps(entry)[:-1], tensor))
    return LargeInfer(_document_pieces(orjson.dumps(_members(response))[:-1], outputs), blobs, is_certain)


def _document_pieces(members: bytes, outputs: list[tuple[bytes, Tensor | None]]) -> Iterator[bytes]:
    yield members
    separator = b',"outputs":['
    for entry, tensor in outputs:
        yield separator
        yield entry
        if tensor is not None:
            yield b',"data":'
            yield from array_pieces(tensor)
            yield b"}"
        separator = b","
    yield b"]}" if outputs else b',"outputs":[]}'


def _members(response: InferResponse) -> dict[str, Any]:
    document: dict[str, Any] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model_name
    document["model_version"] = response.model_version
    if response.parameters:
        document["parameters"] = response.parameters
    return document


def _classified(tensor: Tensor, classes: int, signature: ModelSignature) -> Tensor:
    spec = signature.outputs.get(tensor.name)
    labels = () if spec is None else spec.labels
    return classify(tensor, classes, labels, batched=signature.max_batch_size > 0)


def json_data(tensor: Tensor) -> Any:
    """Return a tensor's flat data in a form that orjson writes, None if there is so much that it should be written in
    pieces; raise INVALID_ARG if JSON cannot represent it."""
    datatype = tensor.datatype
    if datatype == "BYTES":
        return _strings(tensor)
    refuse_halves(tensor)
    array = tensor.array
    if array.size > LARGE_COUNT:
        return None
    flat = np.ascontiguousarray(array).reshape(-1)
    # orjson writes null for numbers that are not finite; Triton and Python's json write the tokens NaN and Infinity.
    return flat if is_finite(flat) else orjson.Fragment(tokens(flat))


def _strings(tensor: Tensor) -> list[str] | None:
    if tensor.byte_size > LARGE or (tensor.is_decoded and tensor.array.size > LARGE_COUNT):
        return None
    elements = tensor.array.ravel().tolist() if tensor.is_decoded else decode_bytes(tensor.raw)
    return texts_of(elements, tensor)
