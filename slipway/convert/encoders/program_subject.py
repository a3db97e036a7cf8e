"""A torch.export file as the subject of a conversion, itself the reference, run by torch in FP32.

A program specifies which of its sizes vary. OpenVINO and torch read it directly, and the ONNX graph is written from it:
a trace would make constants of the sizes of its example.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.backends.pytorch.graph import exported_graph
from slipway.backends.pytorch.library import load_program, one_reader
from slipway.backends.pytorch.module import open_module
from slipway.convert.arrays import Arrays
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.explored_subject import ExploredSubject
from slipway.convert.encoders.exploring import explore
from slipway.convert.encoders.torch_run import answers_of
from slipway.convert.libraries import cause_of, require_libraries
from slipway.convert.onnx_file import export_program
from slipway.errors import invalid
from slipway.openvino_library import import_openvino

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
        """Write the program as ONNX with its variable sizes; raise `SlipwayError` if torch cannot express it."""
        require_libraries(("onnxscript",), "convert")
        graph = self._explored.graph
        try:
            export_program(self._program(), path, inputs=list(graph.inputs), outputs=list(graph.outputs))
        except OSError:
            raise
        except Exception as error:  # the exporter's errors have no common root
            raise invalid(f"torch cannot write the program as ONNX: {cause_of(_first_of(error))}") from error

    def export_torch(self, path: Path, precision: str) -> None:  # noqa: ARG002
        """Refuse: `copy_program` serves the file itself."""
        raise invalid(f"'{self._path.name}' is served unchanged, not traced to TorchScript")

    def openvino_model(self) -> Any:
        """Return the program converted by OpenVINO, with the graph's names and variable dims."""
        openvino = import_openvino()
        model = openvino.convert_model(self._program())
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

    def _program(self) -> Any:
        """Return the program for tools that rewrite it. torch 2.13 cannot rewrite a program from a file if a size is a
        multiple of another (4*s), so such a program is exported again, with the same variable sizes."""
        program = load_program(self._path)
        if all(size.is_Symbol for size in program.range_constraints):
            return program
        import torch

        graph = self._explored.graph
        tensors = {name: torch.from_numpy(array) for name, array in self._explored.example().items()}
        shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
        for name, tensor in tensors.items():
            variable = [axis for axis, size in enumerate(graph.inputs[name].dims) if size == -1]
            shapes[tensor] = dict.fromkeys(variable, torch.export.Dim.DYNAMIC)
        arguments, keywords = self._arguments(tensors)
        with one_reader():
            return torch.export.export(self._forward.call, arguments, keywords, dynamic_shapes=shapes)

    def _run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        answers = dict(zip(self._names, answers_of(self._path, self._call, inputs), strict=True))
        return {name: answers[name] for name in names}

    def _call(self, tensors: Mapping[str, Any]) -> Any:
        arguments, keywords = self._arguments(tensors)
        return self._forward.call(*arguments, **keywords)

    def _arguments(self, tensors: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        forward = self._forward
        if forward.takes_dict:
            return (dict(tensors),), {}
        positional = tuple(tensor for name, tensor in tensors.items() if name not in forward.keywords)
        return positional, {name: tensors[name] for name in forward.keywords}


def _first_of(error: BaseException) -> BaseException:
    """Return the error that the others were raised from: the exporter puts advice on debugging torch before it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
