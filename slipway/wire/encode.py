"""Encode an `InferResponse` for HTTP: a JSON part, then the binary outputs in order.

The parts are returned unjoined, so a large output is never copied here. `encode_infer` declines responses that would
keep the event loop; `encode_large_infer` writes those in pieces, in a thread.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from slipway.core.bytes_codec import decode_bytes
from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw, Tensor
from slipway.wire.classification import classify
from slipway.wire.infer_request import ResponseEncoding
from slipway.wire.json_pieces import array_pieces, is_finite, not_in_json, texts_of, tokens

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
        else:
            data = json_data(tensor)
            if data is None:
                return None
            entry["data"] = data
        outputs.append(entry)
    document = _members(response)
    document["outputs"] = outputs
    return orjson.dumps(document, option=_OPTIONS), blobs


def encode_large_infer(
    response: InferResponse, encoding: ResponseEncoding, signature: ModelSignature
) -> tuple[list[bytes], list[Raw]]:
    """Return what `encode_infer` would return, with the JSON part in pieces; for threads.

    Also raises INVALID_ARG for strings that exceed the limit of a response.
    """
    response.limit_exactly()
    if response.error is not None:
        raise response.error
    parts = [orjson.dumps(_members(response))[:-1], b',"outputs":[']
    blobs: list[Raw] = []
    requested = encoding.outputs
    binary, classes = encoding.binary, 0
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
            parts.append(orjson.dumps(entry))
        else:
            parts += (orjson.dumps(entry)[:-1], b',"data":', *array_pieces(tensor), b"}")
        parts.append(b",")
    if parts[-1] == b",":
        parts.pop()
    parts.append(b"]}")
    return parts, blobs


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
    if datatype in ("FP16", "BF16"):
        raise not_in_json(tensor)
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
