"""The key of a request: equal for two requests exactly if a model would see the same request.

The key covers the loaded model (`identity`), the inputs with datatype, shape and bytes, the requested outputs, the
parameters and the sequence fields; not the request's id, priority and time-out, which do not change a result.
Triton 2.51 covers the model, its version, and the inputs' names and bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from slipway.core.request import InferRequest


def request_key(identity: bytes, request: InferRequest, all_outputs: Mapping[str, object]) -> bytes:
    """Return the key, 32 bytes; a request for `all_outputs` by name equals one that names none.

    `identity` always has the same length. SHA-256, because equal keys of different requests would give one client the
    response to another one's request. Large work for large inputs.
    """
    inputs = sorted(request.inputs.items())
    raws = [tensor.raw for _, tensor in inputs]
    outputs = sorted(set(request.outputs))
    # The text of a tuple ends with its own bracket, and says how long the parts after it are: no two requests have
    # the same bytes.
    head = repr(
        (
            outputs if len(outputs) < len(all_outputs) else [],
            sorted(request.parameters.items()) if request.parameters else (),
            request.correlation_id,
            request.flags,
            [
                (name, tensor.datatype, tuple(tensor.shape), len(raw))
                for (name, tensor), raw in zip(inputs, raws, strict=True)
            ],
        )
    )
    digest = sha256(identity)
    digest.update(head.encode(errors="surrogatepass"))
    for raw in raws:
        digest.update(raw)
    return digest.digest()
