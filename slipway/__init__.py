"""Slipway: from a trained transformer to a verified, tuned, running inference server.

In Python, `Server` serves model repositories and the program's own functions over HTTP and gRPC, and `Client` and
`AsyncClient` send requests to any server that speaks KServe's v2 protocol, such as Slipway and NVIDIA Triton:

    import numpy as np
    import slipway

    server = slipway.Server(http_port=0, grpc_port=0)

    @server.model(
        inputs=[slipway.TensorType(np.float32, -1)],
        outputs=[slipway.TensorType(np.float32, -1, name="y")],
        max_batch_size=64,
    )
    def double(x):
        return 2 * x

    with server, slipway.Client(server.grpc_url) as client:
        print(client.infer("double", {"x": np.ones((1, 3), np.float32)})["y"])

Every error is a `SlipwayError` with a `Code`. Importing the package is cheap: its names are imported when they are
first used, and no module imports a heavy library at the top level. Manual: docs/python.md.
"""

import os
from importlib import import_module

__version__ = "0.1.0"

# Libraries that report to their vendors read these when they are imported, in child processes too. onnxruntime 1.31 and
# newer look up their vendor's host and write an identifier below the home directory; OpenVINO's and NNCF's telemetry is
# declared missing in backends/openvino/library.py. A value that the user has set stays.
for _variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_variable, "1")

# Where the public names are; `__init__.pyi` has the same for type checkers.
_PLACES = {
    "AsyncClient": "slipway.client.async_client",
    "BatchContext": "slipway.backends.function.messages",
    "BoundRequest": "slipway.backends.function.messages",
    "Client": "slipway.client.client",
    "Code": "slipway.errors",
    "IndexRow": "slipway.client.messages",
    "InferResult": "slipway.client.result",
    "ModelInfo": "slipway.client.messages",
    "ModelInstance": "slipway.backends.function.messages",
    "Reply": "slipway.backends.function.messages",
    "Server": "slipway.program.server",
    "ServerInfo": "slipway.client.messages",
    "SlipwayError": "slipway.errors",
    "TensorInfo": "slipway.client.messages",
    "TensorType": "slipway.backends.function.tensor_type",
}
__all__ = ["__version__", *_PLACES]  # noqa: PLE0604  the table's names are texts


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'slipway' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
