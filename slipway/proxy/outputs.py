"""Tensors of a response to JSON values: numbers as nested lists, BYTES as texts, encoded where they are not UTF-8."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from slipway.core.bytes_codec import TruncatedElementError, decode_bytes
from slipway.datatypes import BY_NAME, DataType
from slipway.errors import internal, shown
from slipway.proxy.encoded_bytes import encoded
from slipway.wire.typed_contents import FIELD_OF

_BYTES: Final = "BYTES"


def output_values(response: service_pb2.ModelInferResponse) -> dict[str, Any]:
    """Return the outputs by name, as orjson writes them; raise INTERNAL for what cannot be read."""
    raws = response.raw_output_contents
    values: dict[str, Any] = {}
    for place, tensor in enumerate(response.outputs):
        datatype = BY_NAME.get(tensor.datatype)
        if datatype is None:
            raise internal(f"output '{shown(tensor.name)}' has the unknown datatype '{shown(tensor.datatype)}'")
        try:
            if raws:
                values[tensor.name] = _value(datatype, raws[place], tensor.shape)
            else:
                values[tensor.name] = _typed_value(datatype, tensor)
        except (IndexError, OverflowError, TruncatedElementError, ValueError) as error:
            raise internal(f"output '{shown(tensor.name)}' cannot be read: {error}") from None
    return values


def _value(datatype: DataType, raw: bytes, shape: Any) -> Any:
    if datatype.name == _BYTES:
        return _texts(decode_bytes(raw), shape)
    return _numbers(np.frombuffer(raw, datatype.numpy), shape)


def _typed_value(datatype: DataType, tensor: service_pb2.ModelInferResponse.InferOutputTensor) -> Any:
    contents = getattr(tensor.contents, FIELD_OF[datatype.name]) if datatype.name in FIELD_OF else ()
    if datatype.name == _BYTES:
        return _texts(list(contents), tensor.shape)
    return _numbers(np.array(contents, datatype.numpy), tensor.shape)


def _numbers(flat: np.ndarray, shape: Any) -> Any:
    array = flat.reshape(tuple(shape))
    if array.dtype == BY_NAME["BF16"].numpy:
        array = array.astype(np.float32)
    return array if array.ndim else array.item()


def _texts(elements: list[bytes], shape: Any) -> Any:
    flat = np.empty(len(elements), np.object_)
    flat[:] = [_text(element) for element in elements]
    array = flat.reshape(tuple(shape))
    return array.tolist() if array.ndim else array.item()


def _text(element: bytes) -> str | dict[str, str]:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return encoded(element)
