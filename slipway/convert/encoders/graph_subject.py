"""An ONNX file as a subject of conversion: it is its own reference, run by onnxruntime in FP32."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from slipway.backends.onnxruntime.graph import graph_of
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.sampling import IDS, MASK, InputSampler
from slipway.convert.encoders.subject import Case, Interface
from slipway.convert.libraries import first_line
from slipway.convert.onnx_file import open_session
from slipway.core.signature import TensorSpec
from slipway.datatypes import BY_CONFIG_NAME
from slipway.errors import invalid

_VECTORS: Final = frozenset({"embedding", "embeddings", "sentence_embedding", "last_hidden_state", "pooler_output"})


class GraphSubject:
    """One ONNX file. Implements `subject.Subject`."""

    reference_name = "the ONNX file in onnxruntime, FP32, row by row"

    def __init__(self, path: Path, declared: Sequence[DeclaredInput] = ()) -> None:
        """Open the file; of what is declared only the limits count: the graph has the rest itself."""
        self._path = path
        model = _read(path)
        self._external = external_files(model, path)
        self._session = open_session(path)
        interface = interface_of(graph_of(self._session, path))
        self._sampler = InputSampler(interface, {**_limits(model.graph, interface), **limits_of(declared)})
        self.interface = replace(interface, unknown_ranges=self._sampler.unknown_ranges())

    def cases(self) -> list[Case]:
        """Return random values in several batch sizes and lengths."""
        return list(self._sampler.cases())

    def reference(self, alone: Arrays) -> Arrays:
        """Run the file itself."""
        names = [spec.name for spec in self.interface.outputs]
        try:
            return dict(zip(names, self._session.run(names, alone), strict=True))
        except Exception as error:  # the error types of onnxruntime are private to its extension module
            raise invalid(f"'{self._path}' itself fails on random values: {first_line(error)}") from error

    def sample(self, length: int, rows: int) -> Arrays:
        """Return random rows of `length`."""
        return self._sampler.sample(length, rows)

    def calibration(self, texts: Sequence[str]) -> list[Arrays]:  # noqa: ARG002  a graph has no words
        """Return random rows: a graph without its tokenizer can be asked nothing else."""
        return self._sampler.calibration()

    def export_onnx(self, path: Path) -> None:
        """Copy the file and its external data."""
        shutil.copyfile(self._path, path)
        for name in self._external:
            target = path.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path.parent / name, target)

    def export_torch(self, path: Path, precision: str) -> None:  # noqa: ARG002
        """Refuse: torch does not read ONNX."""
        raise invalid("an ONNX file cannot become a torch model: choose the engine onnxruntime or openvino")


def _read(path: Path) -> Any:
    """Return the onnx.ModelProto of the file, external data left where it is."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise invalid(f"'{path}' is no ONNX file, or it is truncated: {first_line(error)}") from error


def external_files(model: Any, path: Path) -> list[str]:
    """Return the files of the graph's external data; raise `SlipwayError` for one outside its folder, or missing."""
    names = dict.fromkeys(
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    )
    folder = path.parent.resolve()
    for name in names:
        target = (folder / name).resolve()
        if not target.is_relative_to(folder):
            raise invalid(f"'{path}' has external data in '{name}', outside of its own folder: move the file beside it")
        if not target.is_file():
            raise invalid(f"'{path}' has external data in '{name}', which is not there")
    return list(names)


def interface_of(graph: Graph) -> Interface:
    """Return the interface of a graph: batched where every tensor has a variable first dim."""
    batched = graph.can_batch
    inputs = tuple(_spec(tensor, batched=batched) for tensor in graph.inputs.values())
    outputs = tuple(_spec(tensor, batched=batched) for tensor in graph.outputs.values())
    names = {spec.name for spec in outputs}
    words = [spec.name for spec in outputs if spec.datatype == "BYTES"]
    if words:
        raise invalid(f"output '{words[0]}' gives strings, and the gate compares numbers")
    pads = {spec.name: 0 for spec in inputs if -1 in spec.dims}
    maskable = batched and {IDS, MASK} <= pads.keys()
    return Interface(
        inputs,
        outputs,
        MAX_BATCH_SIZE if batched else 0,
        pad_values=pads if maskable else {},
        trims=tuple(_trims(outputs)) if maskable else (),
        compares_labels=names == {"logits"},
        embeds=bool(names & _VECTORS),
    )


def _spec(tensor: GraphTensor, *, batched: bool) -> TensorSpec:
    dims = tensor.dims[1:] if batched else tensor.dims
    return TensorSpec(tensor.name, BY_CONFIG_NAME[tensor.config_type].name, dims)


def _trims(outputs: Sequence[TensorSpec]) -> Iterator[tuple[str, int, str, int]]:
    for spec in outputs:
        if spec.dims[:1] == (-1,):
            yield spec.name, 0, IDS, 0


def _limits(graph: Any, interface: Interface) -> dict[str, int]:
    """Return the size of the table that each integer input looks up, directly or as another type."""
    tables = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    origin = {spec.name: spec.name for spec in interface.inputs}
    limits: dict[str, int] = {}
    for node in graph.node:  # in the order of computation
        if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in tables:
            name = origin[node.input[1]]
            limits[name] = min(tables[node.input[0]], limits.get(name, tables[node.input[0]]))
    return limits
