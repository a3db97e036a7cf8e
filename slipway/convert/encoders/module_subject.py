"""A TorchScript file as the subject of a conversion, itself the reference, run by torch in FP32.

TorchScript lists neither the types nor the shapes of its inputs: they are declared, or those of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.backends.pytorch.library import load_script
from slipway.backends.pytorch.module import cause_of_torch
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.probing import Sizes, find_sizes, made_up
from slipway.convert.arrays import Arrays
from slipway.convert.candidates.tracing import export_onnx, export_torch
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.explored_subject import ExploredSubject
from slipway.convert.encoders.exploring import explore
from slipway.convert.encoders.given import read_sample
from slipway.convert.encoders.torch_run import answers_of
from slipway.core.signature import TensorSpec
from slipway.datatypes import BY_NAME, datatype_of
from slipway.errors import SlipwayError, invalid

_OUTPUT: Final = "output"


class ModuleSubject(ExploredSubject):
    """One file that torch can run without the code it was made from. Implements `subject.Subject`."""

    reference_name = "the module in torch, FP32, row by row"

    def __init__(self, path: Path, declared: Sequence[DeclaredInput], sample: Path | None = None) -> None:
        self._path = path
        self._module = _open(path)
        inputs = [each.spec for each in declared] or _sampled(path, sample)
        graph = self._described(inputs, sample)
        super().__init__(explore(graph, self._run, limits_of(declared), sample=sample, path=path))

    def _described(self, inputs: Sequence[TensorSpec], sample: Path | None) -> Graph:
        """Run the module to find the number and types of its outputs; their shapes are explored later."""
        tensors = {spec.name: GraphTensor(spec.name, BY_NAME[spec.datatype].config_name, spec.dims) for spec in inputs}
        graph = Graph(tensors, {}, {})
        if sample is not None:
            asked = read_sample(sample, list(tensors))
        else:
            asked = made_up(graph, 2, find_sizes(graph, self._run, most=1) or Sizes((9,)), seed=0)
        try:
            answers = self._answers(asked)
        except SlipwayError as error:
            shapes = {name: list(array.shape) for name, array in asked.items()}
            raise invalid(f"'{self._path}' fails on random inputs {shapes}: {error.message}") from error
        names = [_OUTPUT] if len(answers) == 1 else [f"{_OUTPUT}__{index}" for index in range(len(answers))]
        types = [_config_type(self._path, array) for array in answers]
        outputs = {
            name: GraphTensor(name, config_type, (), ranked=False)
            for name, config_type in zip(names, types, strict=True)
        }
        return replace(graph, outputs=outputs)

    def export_onnx(self, path: Path) -> None:
        """Trace the module to an ONNX file."""
        export_onnx(self._module, self._explored.example(), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Trace the module to TorchScript."""
        export_torch(self._module, self._explored.example(), path, precision)

    def _run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        return dict(zip(names, self._answers(inputs), strict=False))

    def _answers(self, inputs: Arrays) -> list[np.ndarray]:
        return answers_of(self._path, lambda tensors: self._module(*tensors.values()), inputs)


def _open(path: Path) -> Any:
    try:
        return load_script(path).eval()
    except Exception as error:  # torch's readers raise exceptions of any type
        raise invalid(f"'{path}' cannot be read as TorchScript: {cause_of_torch(error)}") from error


def _sampled(path: Path, sample: Path | None) -> list[TensorSpec]:
    """Return inputs like the arrays of a sample, in its order, with variable rows."""
    if sample is None:
        raise invalid(
            f"'{path}' is TorchScript, which does not list its inputs: name each with --input NAME:TYPE:DIMS, or give "
            f"--sample FILE.npz with an array for each, in order"
        )
    specs = []
    for name, array in read_sample(sample).items():
        datatype = datatype_of(array.dtype)
        if datatype is None:
            raise invalid(f"'{name}' of sample file '{sample}' has type {array.dtype}, which the protocol lacks")
        specs.append(TensorSpec(name, datatype.name, (-1, *array.shape[1:]) if array.ndim else ()))
    return specs


def _config_type(path: Path, array: np.ndarray) -> str:
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise invalid(f"'{path}' returns an output of type {array.dtype}, which the protocol lacks")
    return datatype.config_name
