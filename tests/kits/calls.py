"""Short forms of tritonclient calls."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype


def tensors(module: ModuleType, arrays: dict[str, np.ndarray], **options: object) -> list[Any]:
    """Return InferInput objects of one client module."""
    made = []
    for name, array in arrays.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, **options)
        made.append(tensor)
    return made


def infer(client: Any, model: str, arrays: dict[str, np.ndarray], output: str) -> np.ndarray:
    """Send one request, binary over HTTP, and return one output."""
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    return client.infer(model, tensors(module, arrays)).as_numpy(output)


def infer_json(
    client: tritonclient.http.InferenceServerClient, model: str, arrays: dict[str, np.ndarray], output: str
) -> np.ndarray:
    """Send one HTTP request whose tensors are JSON in both directions."""
    wanted = [tritonclient.http.InferRequestedOutput(output, binary_data=False)]
    inputs = tensors(tritonclient.http, arrays, binary_data=False)
    return client.infer(model, inputs, outputs=wanted).as_numpy(output)


def texts(*rows: str) -> dict[str, np.ndarray]:
    """Return the input `text` BYTES [rows, 1]."""
    return {"text": np.array([[row.encode()] for row in rows], dtype=np.object_)}
