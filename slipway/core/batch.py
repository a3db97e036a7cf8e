"""Stack the requests of a batch into one array per input, and split the outputs by request.

Batch sizes count rows, not requests: a request of 3 rows owns 3 consecutive rows of every stacked tensor. For a model
without a batch dimension, a batch is one request and nothing is stacked. If the signature has a padding rule, the
requests of a batch may differ in length: they are padded to the longest, and their outputs are trimmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from slipway.core.padding import PaddingRule, longest, stack_padded, trim_outputs
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import internal


def stack(requests: Sequence[InferRequest], signature: ModelSignature) -> dict[str, np.ndarray]:
    """Return each input of the batch as one array, in the backend's shape (with `reshape` applied)."""
    rule = signature.padding
    if len(requests) == 1 and (rule is None or rule.step == 1):
        return {name: backend_view(tensor, signature) for name, tensor in requests[0].inputs.items()}
    columns = {name: [request.inputs[name] for request in requests] for name in requests[0].inputs}
    if rule is None:
        return {name: _concatenated(tensors, signature) for name, tensors in columns.items()}
    return {name: _padded(tensors, requests[0], rule, signature) for name, tensors in columns.items()}


def _concatenated(tensors: Sequence[Tensor], signature: ModelSignature) -> np.ndarray:
    return joined([backend_view(tensor, signature) for tensor in tensors])


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the arrays one after another along the first axis; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(tensors: Sequence[Tensor], first: InferRequest, rule: PaddingRule, signature: ModelSignature) -> np.ndarray:
    name = tensors[0].name
    padded = rule.padded_input(name)
    if padded is None:
        return _concatenated(tensors, signature)
    inner = list(longest([tensor.shape[1:] for tensor in tensors]))
    if len(padded.axes) == 1:
        axis = padded.axes[0] - 1
        (inner[axis],) = rule.rounded((inner[axis],), first.inputs)
    if all(list(tensor.shape[1:]) == inner for tensor in tensors):
        return _concatenated(tensors, signature)
    return _reshaped(name, stack_padded([tensor.array for tensor in tensors], padded.value, tuple(inner)), signature)


def backend_view(tensor: Tensor, signature: ModelSignature) -> np.ndarray:
    """Return an input in the shape that the model sees (with `reshape` applied)."""
    return _reshaped(tensor.name, tensor.array, signature)


def _reshaped(name: str, array: np.ndarray, signature: ModelSignature) -> np.ndarray:
    spec = signature.inputs.get(name)
    if spec is None or spec.reshape is None:
        return array
    return array.reshape(apply_reshape(array.shape, spec.dims, spec.reshape, signature.max_batch_size > 0))


def apply_reshape(
    shape: tuple[int, ...], dims: tuple[int, ...], target: tuple[int, ...], batched: bool
) -> tuple[int, ...]:
    """Return `target` with each -1 replaced by the matching variable dimension of `shape`; keep the batch dimension."""
    batch, actual = (shape[:1], shape[1:]) if batched else ((), shape)
    variable = iter(size for size, declared in zip(actual, dims, strict=True) if declared == -1)
    return batch + tuple(next(variable) if size == -1 else size for size in target)


def split(
    outputs: Mapping[str, np.ndarray],
    rows: Sequence[int],
    signature: ModelSignature,
    *,
    requests: Sequence[InferRequest] = (),
) -> list[list[Tensor]]:
    """Return the output tensors of each request; outputs that grew with padded inputs are trimmed to their own sizes.

    Raise INTERNAL when an output does not have the batch's number of rows. `requests` is used only with a padding rule.
    """
    if signature.max_batch_size == 0:
        return [[client_tensor(name, array, signature) for name, array in outputs.items()]]
    total = sum(rows)
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != total:
            raise internal(
                f"output '{name}' of model '{signature.model_name}' has shape {list(array.shape)} "
                f"for a batch of {total} rows"
            )
    per_request: list[list[Tensor]] = []
    start = 0
    for count in rows:
        part = slice(start, start + count)
        per_request.append([client_tensor(name, array[part], signature) for name, array in outputs.items()])
        start += count
    rule = signature.padding
    if rule is None or not rule.trims or not requests:
        return per_request
    inputs = [request.inputs for request in requests]
    return trim_outputs(per_request, inputs, rule, model=signature.model_name)


def client_tensor(name: str, array: np.ndarray, signature: ModelSignature) -> Tensor:
    """Return an output in the shape that the client sees (with `reshape` undone)."""
    spec = signature.outputs.get(name)
    if spec is not None and spec.reshape is not None:
        array = array.reshape(apply_reshape(array.shape, spec.reshape, spec.dims, signature.max_batch_size > 0))
    return Tensor.from_array(name, array)
