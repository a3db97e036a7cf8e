"""A torch.export file as the subject of a conversion, itself the reference, run by torch in FP32.

A program specifies which of its sizes vary. Engines read it directly (OpenVINO, torch, and ONNX if `onnxscript` is
installed): a trace would make constants of the sizes of its example.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from slipway.backends.openvino.library import import_openvino
from slipway.backends.pytorch.graph import exported_graph
from slipway.backends.pytorch.library import load_program
from slipway.backends.pytorch.module import open_module
from slipway.convert.arrays import Arrays
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.explored_subject import ExploredSubject
from slipway.convert.encoders.exploring import explore
from slipway.convert.encoders.torch_run import answers_of
from slipway.convert.encoders.tracing import export_onnx
from slipway.convert.onnx_file import export_program
from slipway.errors import invalid

_FILE: Final = "model.pt2"


class ProgramSubject(ExploredSubject):
    """One exported program. Implements `subject.Subject` and `subject.Program`."""

    reference_name = "the exported program in torch, FP32, row by row"

    def __init__(self, path: Path, declared: Sequence[DeclaredInput] = (), sample: Path | None = None) -> None:
        """Open the file. Only the limits of the declared inputs are used, because the program specifies the rest."""
        self._path = path
        self._forward = open_module(path, path.name)
        graph = exported_graph(path, path.name)
        self._names = tuple(graph.outputs)
        super().__init__(explore(graph, self._run, limits_of(declared), sample=sample, path=path))

    def export_onnx(self, path: Path) -> None:
        """Write the program as ONNX and keep its variable sizes. Without `onnxscript` it can only be traced, and the
        gate shows whether that fixed a size."""
        forward, graph = self._forward, self._explored.graph
        if find_spec("onnxscript") is not None:
            export_program(load_program(self._path), path, inputs=list(graph.inputs), outputs=list(graph.outputs))
            return
        if forward.takes_dict or forward.keywords:
            raise invalid(
                "a program with keyword arguments needs the package onnxscript to become ONNX: pip install onnxscript"
            )
        forward.call.train = lambda mode=True: forward.call  # noqa: ARG005  it would raise, and the exporter calls it
        export_onnx(forward.call, self._explored.example(), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:  # noqa: ARG002
        """Refuse: `copy_program` serves the file itself."""
        raise invalid(f"'{self._path.name}' is served unchanged, not traced to TorchScript")

    def openvino_model(self) -> Any:
        """Return the program converted by OpenVINO, with the graph's names and variable dims."""
        openvino = import_openvino()
        model = openvino.convert_model(load_program(self._path))
        graph = self._explored.graph
        for port, tensor in zip(model.inputs, graph.inputs.values(), strict=True):
            port.get_tensor().set_names({tensor.name})
        for port, name in zip(model.outputs, graph.outputs, strict=True):
            port.get_tensor().set_names({name})
        shapes = zip(model.inputs, graph.inputs.values(), strict=True)
        model.reshape({port: openvino.PartialShape(list(tensor.dims)) for port, tensor in shapes})
        return model

    def copy_program(self, directory: Path) -> str:
        """Write the file that torch serves and return its name."""
        shutil.copyfile(self._path, directory / _FILE)
        return _FILE

    def _run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        answers = dict(zip(self._names, answers_of(self._path, self._call, inputs), strict=True))
        return {name: answers[name] for name in names}

    def _call(self, tensors: Mapping[str, Any]) -> Any:
        forward = self._forward
        if forward.takes_dict:
            return forward.call(dict(tensors))
        positional = [tensor for name, tensor in tensors.items() if name not in forward.keywords]
        return forward.call(*positional, **{name: tensors[name] for name in forward.keywords})
