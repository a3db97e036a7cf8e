"""Choose the inputs that a model is served with: compare the requested inputs with those of the exported graph.

Pure. The export drops inputs that `forward` does not use. A model could not be called if its config omitted an input
that `forward` does use.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway.backends.shared.graph import Graph
from slipway.convert.module.io_config import ModelIo
from slipway.convert.tensors import IoTensor
from slipway.errors import invalid


def served_inputs(io: ModelIo, listed: Sequence[str] | None, graph: Graph) -> tuple[IoTensor, ...]:
    """Return the inputs for the config; raise INVALID_ARG naming those that `listed` misses or should not have."""
    known = [tensor.name for tensor in io.inputs]
    strange = [name for name in graph.inputs if name not in known]
    if strange:
        raise invalid(
            f"the ONNX model takes {_quoted(strange)}, which --model-io-config does not declare; "
            f"--overwrite exports it again"
        )
    if listed is None:
        return io.listed(tuple(graph.inputs))
    needed = [name for name in graph.inputs if name not in listed]
    if needed:
        raise invalid(
            f"--triton-inputs omits {_quoted(needed)}, which the model needs, so it could not be served; add it, "
            f"or give it a default in forward and remove it from --model-io-config"
        )
    unused = [name for name in listed if name not in graph.inputs]
    if unused:
        raise invalid(
            f"--triton-inputs lists {_quoted(unused)}, which the model does not use, so the exported graph has no "
            f"such input; remove it"
        )
    return io.listed(listed)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
