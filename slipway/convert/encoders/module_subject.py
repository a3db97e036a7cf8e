"""A TorchScript or torch.export file as the subject of a conversion, itself the reference, run by torch in FP32."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.encoders.declared import DeclaredInput, limits_of
from slipway.convert.encoders.sampling import InputSampler
from slipway.convert.encoders.subject import Case, Interface
from slipway.convert.encoders.tracing import export_onnx, export_torch
from slipway.convert.libraries import first_line
from slipway.core.signature import TensorSpec
from slipway.datatypes import datatype_of
from slipway.errors import SlipwayError, invalid


class ModuleSubject:
    """One file that torch can run without its original code. Implements `subject.Subject`."""

    reference_name = "the module in torch, FP32, row by row"

    def __init__(self, path: Path, declared: Sequence[DeclaredInput]) -> None:
        self._path = path
        self._limits = limits_of(declared)
        self._module, inputs = _open(path, [each.spec for each in declared])
        interface = self._explore(inputs)
        self._sampler = InputSampler(interface, self._limits)
        self.interface = replace(interface, unknown_ranges=self._sampler.unknown_ranges())

    def _explore(self, inputs: Sequence[TensorSpec]) -> Interface:
        """Run the module on two sizes to find which dims of its outputs vary with the inputs."""
        batched = all(spec.dims[:1] == (-1,) for spec in inputs)
        own = tuple(TensorSpec(spec.name, spec.datatype, spec.dims[1:] if batched else spec.dims) for spec in inputs)
        probe = Interface(own, (), MAX_BATCH_SIZE if batched else 0)
        sampler = InputSampler(probe, self._limits)
        answers = [self._run(sampler.rows(np.random.default_rng(0), [size] * rows)) for rows, size in ((2, 5), (3, 7))]
        if batched and any(first.shape[:1] != (2,) for first in answers[0]):
            shape = next(list(first.shape) for first in answers[0] if first.shape[:1] != (2,))
            raise invalid(f"'{self._path}' returns shape {shape} for 2 rows: its first dim is not the batch")
        outputs = []
        for index, (first, second) in enumerate(zip(*answers, strict=True)):
            if first.ndim != second.ndim:
                shapes = f"{list(first.shape)} and {list(second.shape)}"
                raise invalid(f"'{self._path}' returns outputs of different rank for different inputs: {shapes}")
            dims = tuple(a if a == b else -1 for a, b in zip(first.shape, second.shape, strict=True))
            name = "output" if len(answers[0]) == 1 else f"output__{index}"
            datatype = datatype_of(first.dtype)
            if datatype is None:
                raise invalid(f"'{self._path}' returns an output of type {first.dtype}, which the protocol lacks")
            outputs.append(TensorSpec(name, datatype.name, dims[1:] if batched else dims))
        return Interface(own, tuple(outputs), probe.max_batch_size)

    def cases(self) -> list[Case]:
        """Return random values with several batch sizes and lengths."""
        return list(self._sampler.cases())

    def reference(self, alone: Arrays) -> Arrays:
        """Run the source module."""
        return dict(zip((spec.name for spec in self.interface.outputs), self._run(alone), strict=True))

    def sample(self, length: int, rows: int) -> Arrays:
        """Return random rows of `length`."""
        return self._sampler.sample(length, rows)

    def calibration(self, texts: Sequence[str]) -> list[Arrays]:  # noqa: ARG002  a module takes no text
        """Return random rows."""
        return self._sampler.calibration()

    def export_onnx(self, path: Path) -> None:
        """Trace the module to an ONNX file."""
        export_onnx(self._module, self._example(), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Trace the module to TorchScript."""
        export_torch(self._module, self._example(), path, precision)

    def _example(self) -> Arrays:
        return self._sampler.rows(np.random.default_rng(2), [7, 7])

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        import torch

        with torch.inference_mode():
            try:
                answer = self._module(*(torch.from_numpy(array) for array in inputs.values()))
            except Exception as error:  # a module can raise anything
                shapes = {name: list(array.shape) for name, array in inputs.items()}
                raise invalid(f"'{self._path}' fails on random inputs {shapes}: {first_line(error)}") from error
        answers = answer if isinstance(answer, (tuple, list)) else (answer,)
        if not all(isinstance(each, torch.Tensor) for each in answers):
            raise invalid(f"'{self._path}' returns something other than tensors, which cannot be served")
        bfloat16 = next((each for each in answers if each.dtype == torch.bfloat16), None)
        if bfloat16 is not None:
            raise invalid(f"'{self._path}' returns bfloat16, which numpy lacks: return .float() instead")
        return [each.numpy() for each in answers]


def _open(path: Path, declared: Sequence[TensorSpec]) -> tuple[Any, Sequence[TensorSpec]]:
    """Return the module and its inputs, which an exported program lists and TorchScript does not."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            scripted = any("/code/" in name for name in archive.namelist())
        if scripted:
            module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        else:
            program = torch.export.load(str(path))
            module = program.module()
            module.train = lambda mode=True: module  # type: ignore[method-assign]  # noqa: ARG005  it would raise, and every exporter calls it
            return module, declared or _program_inputs(program)
    except SlipwayError:
        raise
    except Exception as error:  # zipfile, torch.jit and torch.export have no common root
        raise invalid(f"'{path}' is not a TorchScript or torch.export file: {first_line(error)}") from error
    if not declared:
        raise invalid(f"'{path}' is TorchScript, which does not list its inputs: name each with --input NAME:TYPE:DIMS")
    return module, declared


def _program_inputs(program: Any) -> list[TensorSpec]:
    user_inputs = set(program.graph_signature.user_inputs)
    return [
        _placeholder(node.name, node.meta["val"])
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in user_inputs
    ]


def _placeholder(name: str, value: Any) -> TensorSpec:
    import torch

    datatype = datatype_of(torch.empty(0, dtype=value.dtype).numpy().dtype)
    if datatype is None:
        raise invalid(f"input '{name}' has type {value.dtype}, which the protocol lacks")
    return TensorSpec(name, datatype.name, tuple(size if isinstance(size, int) else -1 for size in value.shape))
