"""The user's model as the reference: example inputs, and the outputs of PyTorch in FP32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.module.io_config import ModelIo
from slipway.convert.module.options import ModuleOptions
from slipway.convert.tensors import IoTensor
from slipway.datatypes import datatype_of
from slipway.errors import SlipwayError, invalid, unavailable

# Example integers are below the first limit that the model accepts: many are ids, and small models have few.
ID_LIMITS: Final = (1000, 2)


@dataclass(frozen=True, slots=True)
class Example:
    """One example input with the reference outputs."""

    name: str
    inputs: Arrays
    expected: Arrays

    @property
    def rows(self) -> int:
        """The batch size."""
        return len(next(iter(self.inputs.values())))


def example(tensors: Sequence[IoTensor], *, rows: int, length: int, limit: int) -> Arrays:
    """Return random but reproducible arrays for `tensors`: normal floats, and integers in 0 .. limit-1."""
    generator = np.random.default_rng(rows)
    return {tensor.name: _array(tensor, tensor.filled(rows, length), generator, limit) for tensor in tensors}


def _array(tensor: IoTensor, shape: tuple[int, ...], generator: np.random.Generator, limit: int) -> np.ndarray:
    dtype = tensor.datatype.numpy
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    most = 2 if dtype.kind == "b" else min(limit, np.iinfo(dtype).max + 1)
    return generator.integers(0, most, size=shape).astype(dtype)


class ReferenceModule:
    """A model in evaluation mode, called with arrays by name; raise UNAVAILABLE if the device does not exist."""

    def __init__(self, module: Any, io: ModelIo, device: str) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise unavailable("--device cuda: PyTorch finds no NVIDIA GPU; omit the option to use the CPU")
        self._io = io
        self._device = device
        self.network = _flat(module).to(device).eval()
        self.limit = ID_LIMITS[0]

    def settle_limit(self, *, rows: int, length: int) -> None:
        """Find a limit for integers that the model accepts; raise INVALID_ARG if it fails on its example input."""
        for limit in ID_LIMITS:
            self.limit = limit
            try:
                answer = self.answer(example(self._io.inputs, rows=rows, length=length, limit=limit))
            except Exception as error:
                if isinstance(error, IndexError) and limit != ID_LIMITS[-1]:
                    continue  # an id outside the embedding table
                raise _failed(error) from error
            self._check(answer, rows)
            return

    def tensors(self, arrays: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
        """Return the arguments of `forward`, in order."""
        import torch

        return tuple(torch.from_numpy(arrays[tensor.name]).to(self._device) for tensor in self._io.inputs)

    def answer(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of the model, in the order in which it returns them."""
        import torch

        with torch.no_grad():
            return [each.cpu().numpy() for each in self.network(*self.tensors(arrays))]

    def examples(self, options: ModuleOptions) -> list[Example]:
        """Return examples with one, two and the maximum number of rows, and with another length if lengths vary."""
        length, most = options.length, options.max_batch_size
        sizes = [(rows, length) for rows in sorted({1, min(2, most), most})]
        if self._io.is_variable and length > 1:
            sizes.append((min(2, most), length // 2))
        return [self._example(rows, size, named=self._io.is_variable) for rows, size in sizes]

    def _example(self, rows: int, length: int, *, named: bool) -> Example:
        inputs = example(self._io.inputs, rows=rows, length=length, limit=self.limit)
        names = [tensor.name for tensor in self._io.outputs]
        name = f"batch {rows}, length {length}" if named else f"batch {rows}"
        return Example(name, inputs, dict(zip(names, self.answer(inputs), strict=True)))

    def _check(self, answer: Sequence[np.ndarray], rows: int) -> None:
        problems = list(_answer_problems(self._io.outputs, answer, rows))
        if problems:
            raise invalid(f"--model-io-config does not match the outputs of the model: {'; '.join(problems)}")


def _answer_problems(declared: Sequence[IoTensor], answer: Sequence[np.ndarray], rows: int) -> Iterator[str]:
    if len(declared) != len(answer):
        shapes = ", ".join(str(list(array.shape)) for array in answer)
        yield f"{len(declared)} outputs are declared, but forward returns {len(answer)} (shapes {shapes})"
        return
    for tensor, array in zip(declared, answer, strict=True):
        datatype = datatype_of(array.dtype)
        if datatype != tensor.datatype or not tensor.accepts(array.shape) or array.shape[0] != rows:
            name = datatype.name if datatype else str(array.dtype)
            yield f"output {tensor} is declared, but forward returns {name} {list(array.shape)} for a batch of {rows}"


def _failed(error: Exception) -> SlipwayError:
    text = " ".join(str(error).split())
    return invalid(
        f"the model fails on an example input for --model-io-config with {type(error).__name__}: {text[:300]} "
        f"(inputs are passed to forward in the order of their declaration)"
    )


def _flat(module: Any) -> Any:
    """Return a module that calls `module` and returns a tuple with all tensors in its result."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            answer = self.inner(*inputs)
            if isinstance(answer, torch.Tensor):
                return (answer,)
            values = answer.values() if isinstance(answer, Mapping) else answer
            return tuple(value for value in values if isinstance(value, torch.Tensor))

    return Flat()
