"""Raw binary requests: the whole body is the model's only input (Inference-Header-Content-Length: 0).

Source: Triton extension_binary_data.md, "Raw Binary Request". Name, datatype and shape come from the model's signature.
"""

from __future__ import annotations

import struct
from math import prod

from slipway.core.request import InferRequest
from slipway.core.shared_bytes import Body
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import invalid
from slipway.wire.infer_request import ResponseEncoding


def decode_raw(model_version: str, body: Body, signature: ModelSignature) -> tuple[InferRequest, ResponseEncoding]:
    """Return the one-row request made of `body`; all its outputs are sent in binary form."""
    request = InferRequest(signature.model_name, model_version)
    if len(signature.inputs) != 1:
        raise invalid(
            f"{request.log_prefix}Raw request must only have 1 input (found 1) to be deduced but got "
            f"{len(signature.inputs)} inputs in '{signature.model_name}' model configuration"
        )
    (spec,) = signature.inputs.values()
    request.inputs[spec.name] = _tensor(request, spec, body, signature)
    return request, ResponseEncoding(binary=True)


def _tensor(request: InferRequest, spec: TensorSpec, body: Body, signature: ModelSignature) -> Tensor:
    rows = (1,) if signature.max_batch_size > 0 else ()
    raw = memoryview(body).toreadonly()
    if spec.datatype == "BYTES":
        if spec.dims != (1,):
            raise invalid(
                f"{request.log_prefix}For BYTE datatype raw input '{spec.name}', the model must have input shape [1]"
            )
        return Tensor(spec.name, "BYTES", (*rows, 1), raw=struct.pack("<I", len(raw)) + raw)
    if spec.dims.count(-1) > 1:
        raise invalid(
            f"{request.log_prefix}The shape of the raw input '{spec.name}' can not be deduced because there are more "
            "than one variable-sized dimension"
        )
    fixed = prod(size for size in spec.dims if size != -1) * BY_NAME[spec.datatype].size
    variable = len(raw) // fixed if fixed else 0
    expected = fixed * variable if -1 in spec.dims else fixed
    if expected != len(raw):
        raise invalid(
            f"{request.log_prefix}input byte size mismatch for input 'raw_input' for model "
            f"'{signature.model_name}'. Expected {expected}, got {len(raw)}"
        )
    shape = rows + tuple(variable if size == -1 else size for size in spec.dims)
    return Tensor(spec.name, spec.datatype, shape, raw=raw)
