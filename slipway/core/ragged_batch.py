"""Stack and split the batches of a model with ragged inputs or tensors that describe the batch (`core/ragged.py`).

Replaces `core.batch.stack` and `split` for such a model; they are chosen once, when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from slipway.core.batch import backend_view, client_tensor, joined, split
from slipway.core.ragged import scattered_shape
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import internal


def stack_ragged(requests: Sequence[InferRequest], signature: ModelSignature) -> dict[str, np.ndarray]:
    """Return each input of the batch as one array, ragged ones flat, and the batch inputs.

    Raise UNSUPPORTED if a batch input cannot represent the batch.
    """
    ragged = signature.ragged
    views = {
        name: [backend_view(request.inputs[name], signature) for request in requests] for name in requests[0].inputs
    }
    arrays = {
        name: joined([view.reshape(-1) for view in parts] if name in ragged.inputs else parts)
        for name, parts in views.items()
    }
    for each in ragged.batch_inputs:
        arrays |= dict.fromkeys(each.targets, each.value([view.shape for view in views[each.source]]))
    return arrays


def split_ragged(
    outputs: Mapping[str, np.ndarray],
    rows: Sequence[int],
    signature: ModelSignature,
    *,
    requests: Sequence[InferRequest],
) -> list[list[Tensor]]:
    """Return the output tensors of each request: scattered outputs by the shapes of their source, others by rows.

    Raise INTERNAL when an output does not have the batch's number of rows or elements.
    """
    scattered = signature.ragged.scattered
    columns = [
        _scattered(name, array, signature, [request.inputs[scattered[name]] for request in requests])
        if name in scattered
        else [tensor for (tensor,) in split({name: array}, rows, signature)]
        for name, array in outputs.items()
    ]
    return [list(tensors) for tensors in zip(*columns, strict=True)]


def _scattered(name: str, array: np.ndarray, signature: ModelSignature, sources: Sequence[Tensor]) -> list[Tensor]:
    spec = signature.outputs[name]
    inner = spec.dims if spec.reshape is None else spec.reshape
    dims = (-1, *inner) if signature.max_batch_size > 0 else inner
    shapes = [scattered_shape(dims, backend_view(source, signature).shape) for source in sources]
    sizes = [prod(shape) for shape in shapes]
    if array.size != sum(sizes):
        raise internal(
            f"output '{name}' of model '{signature.model_name}' has {array.size} elements for a batch that needs "
            f"{sum(sizes)}, by the shapes of input '{sources[0].name}'"
        )
    flat = array.reshape(-1)
    ends = np.cumsum(sizes)
    parts = zip(shapes, ends - sizes, ends, strict=True)
    return [client_tensor(name, flat[start:end].reshape(shape), signature) for shape, start, end in parts]
