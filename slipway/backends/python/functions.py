"""The free functions of `triton_python_backend_utils` that need no server: look-ups and type tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.tensor import TRITON_CODES, ModelTensor
from slipway.core.bytes_codec import decode_bytes, encode_bytes
from slipway.datatypes import BY_NAME

# Scalar types, not dtypes: models compare them with `==` and pass them to numpy. numpy has no type for BF16.
_NUMPY_TYPES: Final[dict[int, type]] = {
    code: np.bool_ if name == "BOOL" else np.object_ if name == "BYTES" else BY_NAME[name].numpy.type
    for name, code in TRITON_CODES.items()
    if name != "BF16"
}
TRITON_STRING_TO_NUMPY: Final[dict[str, type]] = {
    BY_NAME[name].config_name: bool if name == "BOOL" else _NUMPY_TYPES[code]
    for name, code in TRITON_CODES.items()
    if name != "BF16"
}


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> ModelTensor | None:
    """Return the request's input `name`, or None."""
    return ModelTensor.named(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> ModelTensor | None:
    """Return the response's output `name`, or None."""
    return ModelTensor.named(inference_response.output_tensors(), name)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the configuration (a dict) of the input `name`, or None."""
    return _properties(model_config.get("input", ()), name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the configuration (a dict) of the output `name`, or None."""
    return _properties(model_config.get("output", ()), name)


def _properties(tensors: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    for properties in tensors:
        if properties["name"] == name:
            return properties
    return None


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Return whether the configuration (a dict) makes the model decoupled."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def triton_to_numpy_type(data_type: int) -> type | None:
    """Return the numpy type of a datatype's number, or None."""
    return _NUMPY_TYPES.get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """Return the number of a numpy type's datatype, or None."""
    if data_type == np.bytes_:
        return TRITON_CODES["BYTES"]
    for code, numpy_type in _NUMPY_TYPES.items():
        if data_type == numpy_type:
            return code
    return None


def triton_string_to_numpy(triton_type_string: str) -> type:
    """Return the numpy type of a config.pbtxt datatype such as TYPE_FP32; raise KeyError for an unknown one."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def serialize_byte_tensor(input_tensor: np.ndarray) -> bytes | tuple[()] | None:
    """Return the wire form of an array of strings, () for an empty one, None for another type."""
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.kind in "OS":
        return encode_bytes(input_tensor.ravel().tolist())
    return None


def deserialize_bytes_tensor(encoded_tensor: bytes) -> np.ndarray:
    """Return the elements of the wire form as a flat object array of `bytes`."""
    elements = decode_bytes(encoded_tensor)
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array
