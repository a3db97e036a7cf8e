"""What a caller gives as inputs, as tensors: numpy arrays as they are, lists and texts by what the model declares.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from slipway.client.messages import ModelInfo, TensorInfo
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME, datatype_of
from slipway.errors import invalid, shown
from slipway.nearest import nearest_or_all


def needs_declaration(inputs: Mapping[str, Any]) -> bool:
    """Return whether the model's metadata decides what a value means."""
    return any(not isinstance(value, np.ndarray) for value in inputs.values())


def tensors_of(inputs: Mapping[str, Any], model: ModelInfo | None) -> dict[str, Tensor]:
    """Return the inputs as tensors; `model` is needed for values that are not arrays.

    Raise INVALID_ARG for a name that the model does not have, or a value that is not what it declares.
    """
    if not isinstance(inputs, Mapping):
        raise invalid(f"inputs are a mapping from names to arrays, not a {type(inputs).__name__}")
    declared = {} if model is None else {tensor.name: tensor for tensor in model.inputs}
    return {name: _tensor(name, value, model, declared) for name, value in inputs.items()}


def _tensor(name: str, value: Any, model: ModelInfo | None, declared: Mapping[str, TensorInfo]) -> Tensor:
    if model is not None and name not in declared:
        hint = nearest_or_all(str(name), declared) if declared else "; it has none"
        raise invalid(f"model '{model.name}' has no input '{shown(name)}'{hint}")
    if isinstance(value, np.ndarray):
        return _from_array(name, value)
    info = declared[name]
    if info.datatype not in BY_NAME:
        raise invalid(f"input '{name}' has datatype {shown(info.datatype)}, which is not of the protocol")
    if info.datatype == "BYTES":
        return _from_array(name, _shaped(_strings(name, value), info))
    try:
        array = np.array(value, dtype=BY_NAME[info.datatype].numpy)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"input '{name}' does not contain {info.datatype} values: {error}") from None
    return _from_array(name, _shaped(array, info))


def _from_array(name: str, array: np.ndarray) -> Tensor:
    if datatype_of(array.dtype) is None:
        raise invalid(f"input '{name}' has numpy type '{array.dtype}', which the protocol cannot carry")
    if array.dtype.kind == "O":
        odd = next((each for each in array.ravel().tolist() if not isinstance(each, str | bytes)), None)
        if odd is not None:
            raise invalid(f"input '{name}' has a {type(odd).__name__} among its strings")
    tensor = Tensor.from_array(name, array)
    try:
        _ = tensor.raw
    except UnicodeEncodeError:
        raise invalid(f"input '{name}' has a text with half a character (a lone surrogate)") from None
    return tensor


def _strings(name: str, value: Any) -> np.ndarray:
    try:
        return np.array(value, dtype=np.object_)
    except ValueError as error:
        raise invalid(f"input '{name}' is not a text or a list of texts: {error}") from None


def _shaped(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """Return the array with the dimensions of size 1 that the model declares and the caller left out."""
    missing = len(info.shape) - array.ndim
    if missing <= 0:
        return array
    if array.ndim == 0:
        return array.reshape((1,) * missing)
    behind = info.shape[array.ndim :]  # ["a", "b"] for [-1, 1]
    if all(size == 1 for size in behind):
        return array.reshape(*array.shape, *behind)
    return array.reshape((1,) * missing + array.shape)  # one row


def text_input(model: ModelInfo, texts: str | Sequence[str]) -> dict[str, Any]:
    """Return the texts as the model's only string input; raise INVALID_ARG if it has none or several."""
    names = [tensor.name for tensor in model.inputs if tensor.datatype == "BYTES"]
    if len(names) != 1:
        listed = ", ".join(f"{tensor.name} {tensor.datatype}" for tensor in model.inputs)
        raise invalid(f"model '{model.name}' has {len(names)} string inputs ({listed}): name one with infer")
    values = [texts] if isinstance(texts, str) else list(texts)
    shape = next(tensor.shape for tensor in model.inputs if tensor.name == names[0])
    sizes = (len(values), *(1 for _ in shape[1:])) if shape else ()
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    if prod(sizes) != len(values):
        raise invalid(f"input '{names[0]}' of model '{model.name}' is one text, not {len(values)}")
    return {names[0]: array.reshape(sizes)}
