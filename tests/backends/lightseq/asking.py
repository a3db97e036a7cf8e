"""Requests as the server hands them to a backend."""

from __future__ import annotations

import numpy as np

from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor


def request(name: str, array: np.ndarray, *, outputs: tuple[str, ...] = (), **parameters: int | str) -> InferRequest:
    """Return a request with one input."""
    return InferRequest("m", inputs={name: Tensor.from_array(name, array)}, outputs=outputs, parameters=parameters)


def ids(*rows: list[int]) -> np.ndarray:
    """Return INT32 [rows, tokens]."""
    return np.array(rows, np.int32)
