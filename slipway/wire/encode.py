"""Encode an `InferResponse` for HTTP: a JSON part, then the binary outputs in order.

The parts are returned unjoined, so a large output is never copied here.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import orjson

from slipway.core.bytes_codec import decode_bytes
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw, Tensor
from slipway.errors import invalid
from slipway.wire.classification import classify
from slipway.wire.infer_request import ResponseEncoding

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_infer(
    response: InferResponse, encoding: ResponseEncoding, signature: ModelSignature
) -> tuple[bytes, list[Raw]]:
    """Return the JSON part and the binary outputs that follow it; raise `SlipwayError` for data that JSON cannot
    represent."""
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
            tensor = _classified(tensor, classes, signature)  # noqa: PLW2901  the classified output replaces the tensor
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary:
            raw = tensor.raw
            entry["parameters"] = {"binary_data_size": len(raw)}
            blobs.append(raw)
        else:
            entry["data"] = json_data(tensor)
        outputs.append(entry)
    document: dict[str, Any] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model_name
    document["model_version"] = response.model_version
    if response.parameters:
        document["parameters"] = response.parameters
    document["outputs"] = outputs
    return orjson.dumps(document, option=_OPTIONS), blobs


def _classified(tensor: Tensor, classes: int, signature: ModelSignature) -> Tensor:
    spec = signature.outputs.get(tensor.name)
    labels = () if spec is None else spec.labels
    return classify(tensor, classes, labels, batched=signature.max_batch_size > 0)


def json_data(tensor: Tensor) -> Any:
    """Return a tensor's flat data in a form that orjson writes; raise INVALID_ARG if JSON cannot represent it."""
    datatype = tensor.datatype
    if datatype == "BYTES":
        return _strings(tensor)
    if datatype in ("FP16", "BF16"):
        raise invalid(
            f"sending {datatype} data via JSON is not supported. Please use the binary data format for output "
            f"{tensor.name}"
        )
    flat = np.ascontiguousarray(tensor.array).reshape(-1)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        # orjson writes null for these; Triton and Python's json write the tokens NaN and Infinity.
        return orjson.Fragment(json.dumps(flat.tolist(), separators=(",", ":")))
    return flat


def _strings(tensor: Tensor) -> list[str]:
    elements = tensor.array.ravel().tolist() if tensor.is_decoded else decode_bytes(tensor.raw)
    try:
        return [element.decode() if isinstance(element, bytes) else str(element) for element in elements]
    except UnicodeDecodeError:
        raise invalid(
            f"output '{tensor.name}' contains bytes that are not UTF-8. Please use the binary data format for output "
            f"{tensor.name}"
        ) from None
