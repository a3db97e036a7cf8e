"""Which inputs a model is served with: what was asked for, held against the inputs that the exported graph has.

Pure. An input that `forward` does not use vanishes at export; one that it uses and the configuration leaves out would
make a model that nobody can call.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway.backends.shared.graph import Graph
from slipway.convert.module.io_config import ModelIo
from slipway.convert.tensors import IoTensor
from slipway.errors import invalid


def served_inputs(io: ModelIo, listed: Sequence[str] | None, graph: Graph) -> tuple[IoTensor, ...]:
    """Return the inputs for the configuration; raise INVALID_ARG naming those of `listed` that make no sense."""
    known = [tensor.name for tensor in io.inputs]
    strange = [name for name in graph.inputs if name not in known]
    if strange:
        raise invalid(
            f"the ONNX model takes {_quoted(strange)}, which --model-io-config does not declare; --overwrite exports "
            f"it anew"
        )
    if listed is None:
        return io.listed(tuple(graph.inputs))
    needed = [name for name in graph.inputs if name not in listed]
    if needed:
        raise invalid(
            f"--triton-inputs leaves out {_quoted(needed)}, which the model computes with: it could not be served; "
            f"add it, or give it a default in forward and take it from --model-io-config"
        )
    unused = [name for name in listed if name not in graph.inputs]
    if unused:
        raise invalid(
            f"--triton-inputs lists {_quoted(unused)}, which the model does not use, so that the exported graph has "
            f"no such input; leave it out"
        )
    return io.listed(listed)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
