"""The tensor datatypes of the KServe v2 protocol, as one table.

Source: KServe v2 "Tensor Data Types", Triton model_config.proto `DataType`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import ml_dtypes
import numpy as np


@dataclass(frozen=True, slots=True)
class DataType:
    """One datatype: its protocol name, its config.pbtxt name and its numpy dtype."""

    name: str  # "FP32", on the wire
    config_name: str  # "TYPE_FP32", in config.pbtxt
    numpy: np.dtype  # object for BYTES: each element is `bytes`
    size: int  # bytes per element; 0 for BYTES, whose elements vary


def _row(name: str, config_name: str, numpy: object) -> DataType:
    dtype = np.dtype(numpy)  # type: ignore[call-overload]
    return DataType(name, config_name, dtype, 0 if dtype.kind == "O" else dtype.itemsize)


_ROWS: Final = (
    _row("BOOL", "TYPE_BOOL", np.bool_),
    _row("UINT8", "TYPE_UINT8", np.uint8),
    _row("UINT16", "TYPE_UINT16", np.uint16),
    _row("UINT32", "TYPE_UINT32", np.uint32),
    _row("UINT64", "TYPE_UINT64", np.uint64),
    _row("INT8", "TYPE_INT8", np.int8),
    _row("INT16", "TYPE_INT16", np.int16),
    _row("INT32", "TYPE_INT32", np.int32),
    _row("INT64", "TYPE_INT64", np.int64),
    _row("FP16", "TYPE_FP16", np.float16),
    _row("FP32", "TYPE_FP32", np.float32),
    _row("FP64", "TYPE_FP64", np.float64),
    _row("BF16", "TYPE_BF16", ml_dtypes.bfloat16),
    _row("BYTES", "TYPE_STRING", np.object_),
)

BY_NAME: Final[dict[str, DataType]] = {row.name: row for row in _ROWS}
BY_CONFIG_NAME: Final[dict[str, DataType]] = {row.config_name: row for row in _ROWS}
_BY_NUMPY: Final[dict[np.dtype, DataType]] = {row.numpy: row for row in _ROWS}


def datatype_of(dtype: np.dtype) -> DataType | None:
    """Return the datatype of a numpy dtype (strings of any kind are BYTES), or None if the protocol has none."""
    if dtype.kind in "SUO":
        return BY_NAME["BYTES"]
    return _BY_NUMPY.get(dtype)
