"""An ONNX file as the subject of a conversion, with the file itself, run by onnxruntime in FP32, as the reference."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.onnxruntime.graph import graph_of
from slipway.backends.onnxruntime.session import GraphRunner
from slipway.backends.shared.graph import Graph
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.explored_subject import ExploredSubject
from slipway.convert.encoders.exploring import explore, ranked
from slipway.convert.libraries import cause_of
from slipway.convert.onnx_file import open_session
from slipway.errors import invalid, shown

_DYNAMIC: Final = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


class GraphSubject(ExploredSubject):
    """One ONNX file. Implements `subject.Subject`."""

    reference_name = "the ONNX file in onnxruntime, FP32, row by row"

    def __init__(self, path: Path, declared: Sequence[DeclaredInput] = (), sample: Path | None = None) -> None:
        """Open the file and run it to find what it does not specify. Of the declared inputs, only the limits are used,
        and the dims where the graph gives an input no shape, because the graph specifies the rest."""
        self._path = path
        model = _read(path)
        self._external = external_files(model, path)
        session = open_session(path)
        graph = ranked(graph_of(session, path), declared, sample, path)
        runner = GraphRunner(session, graph, model_config_pb2.ModelConfig(name=path.name))
        limits = {**_limits(model.graph, graph), **limits_of(declared)}
        dynamic = any(node.op_type in _DYNAMIC for node in model.graph.node)
        cause = ": it is quantised dynamically, from the values of all rows together" if dynamic else ""
        super().__init__(explore(graph, runner.run, limits, sample=sample, path=path, cause=cause))

    def export_onnx(self, path: Path) -> None:
        """Copy the file and its external data."""
        shutil.copyfile(self._path, path)
        for name in self._external:
            target = path.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path.parent / name, target)

    def export_torch(self, path: Path, precision: str) -> None:  # noqa: ARG002
        """Refuse, because torch cannot read ONNX."""
        raise invalid("an ONNX file cannot be converted to a torch model: choose the engine onnxruntime or openvino")


def _read(path: Path) -> Any:
    """Return the onnx.ModelProto of the file without loading external data."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise invalid(f"'{path}' is not an ONNX file, or it is truncated: {cause_of(error)}") from error


def external_files(model: Any, path: Path) -> list[str]:
    """Return the external data files of the graph; raise `SlipwayError` if one is missing or outside its folder."""
    names = dict.fromkeys(
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    )
    folder = path.parent.resolve()
    for name in names:
        try:
            target = (folder / name).resolve()
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, links in a circle
            raise invalid(f"'{path}' has external data in {shown(repr(name))}, which is not a file name") from None
        if not target.is_relative_to(folder):
            raise invalid(f"'{path}' has external data in '{name}', outside its own folder: move the data into it")
        if not target.is_file():
            raise invalid(f"'{path}' has external data in '{name}', which does not exist")
    return list(names)


def _limits(graph: Any, described: Graph) -> dict[str, int]:
    """Return, for each integer input that indexes a table, the size of that table."""
    tables = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    origin = {name: name for name in described.inputs}
    limits: dict[str, int] = {}
    for node in graph.node:  # in the order of computation
        if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in tables:
            name = origin[node.input[1]]
            limits[name] = min(tables[node.input[0]], limits.get(name, tables[node.input[0]]))
    return limits
