"""Convert between numpy arrays and the values of torch modules: tensors, and lists of str for BYTES."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from slipway.datatypes import BY_NAME, datatype_of
from slipway.errors import SlipwayError, invalid

Value = Any  # torch.Tensor or list[str]


def to_torch(name: str, array: np.ndarray) -> Value:
    """Return the array as a tensor, on the same memory if it is writable; return BYTES (one dimension) as list[str].

    A read-only array is a view of a request's own bytes; it is copied, since a module may write to its arguments.
    """
    import torch

    if array.dtype.kind in "SUO":
        return _to_strings(name, array)
    if not array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy()
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _to_strings(name: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1:
        raise invalid(f"Triton only supports 1 dimensional List of String as input for '{name}'")
    try:
        return [element if isinstance(element, str) else element.decode() for element in array.tolist()]
    except UnicodeDecodeError:
        raise invalid(f"input '{name}' has a string that is not valid UTF-8") from None


def to_numpy(name: str, value: Value, expected: str) -> np.ndarray:
    """Return a module's result as an array; raise INVALID_ARG when it is not of the datatype `expected`."""
    import torch

    if isinstance(value, torch.Tensor):
        array = _tensor_to_numpy(value)
    elif isinstance(value, list) and all(isinstance(element, str) for element in value):
        array = np.empty(len(value), dtype=np.object_)
        array[:] = [element.encode() for element in value]
    else:
        raise invalid(f"output '{name}' must be of type Tensor or List[str], received {type(value).__name__}")
    datatype = datatype_of(array.dtype)
    if datatype is None or datatype.name != expected:
        provided = f"TYPE_{datatype.name}" if datatype else str(array.dtype)
        raise _unexpected_datatype(name, provided, expected)
    return array


def _tensor_to_numpy(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        bits: np.ndarray = tensor.contiguous().view(torch.uint16).numpy()
        return bits.view(BY_NAME["BF16"].numpy)
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())


def _unexpected_datatype(name: str, provided: str, expected: str) -> SlipwayError:
    return invalid(f"unexpected datatype {provided} for inference output '{name}', expecting TYPE_{expected}")
