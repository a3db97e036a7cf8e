"""The user's declaration of a model's inputs and outputs (`--model-io-config`, `--triton-inputs`), as frozen values.

Pure. Shapes are without the batch axis; -1 is a variable dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from slipway.convert.tensors import IoTensor
from slipway.datatypes import BY_NAME
from slipway.errors import invalid

# Names shared by numpy and PyTorch -> names in the protocol.
DATATYPES: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: list[int]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    outputs: list[_Tensor]


@dataclass(frozen=True, slots=True)
class ModelIo:
    """All inputs, in the order of the arguments of `forward`, and all outputs, in the order it returns them."""

    inputs: tuple[IoTensor, ...]
    outputs: tuple[IoTensor, ...]

    @property
    def is_variable(self) -> bool:
        """Whether an input has a variable dimension besides the batch axis."""
        return any(-1 in tensor.shape for tensor in self.inputs)

    def listed(self, names: Sequence[str]) -> tuple[IoTensor, ...]:
        """Return the inputs with these names, in the order of the arguments."""
        return tuple(tensor for tensor in self.inputs if tensor.name in names)


def parse_model_io(text: str) -> ModelIo:
    """Return the declaration in the JSON text; raise INVALID_ARG with every mistake in it."""
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError as error:
        raise invalid(f"Invalid model IO configuration: {error}") from None
    problems = list(_problems(document))
    if problems:
        raise invalid(f"Invalid model IO configuration: {'; '.join(problems)}")
    return ModelIo(_tensors(document.inputs), _tensors(document.outputs))


def _tensors(tensors: Sequence[_Tensor]) -> tuple[IoTensor, ...]:
    return tuple(IoTensor(each.name, BY_NAME[DATATYPES[each.dtype]], tuple(each.shape)) for each in tensors)


def _problems(document: _Document) -> Iterator[str]:
    for kind, tensors in (("inputs", document.inputs), ("outputs", document.outputs)):
        if not tensors:
            yield f"'{kind}' is empty"
    names = [tensor.name for tensor in (*document.inputs, *document.outputs)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the name '{name}' is used more than once"
    for tensor in (*document.inputs, *document.outputs):
        yield from _tensor_problems(tensor)


def _tensor_problems(tensor: _Tensor) -> Iterator[str]:
    if not tensor.name:
        yield "a tensor has an empty name"
    if tensor.dtype not in DATATYPES:
        reason = " (PyTorch has no string tensors)" if tensor.dtype in ("string", "str", "bytes") else ""
        yield f"'{tensor.name}' has the unknown dtype '{tensor.dtype}'{reason}; known: {', '.join(DATATYPES)}"
    if any(size < 1 and size != -1 for size in tensor.shape):
        yield f"'{tensor.name}' has the shape {tensor.shape}; each size must be 1 or more, or -1 if it varies"


def choose_inputs(io: ModelIo, text: str) -> tuple[str, ...] | None:
    """Return the names in `--triton-inputs`, None if it is empty; raise INVALID_ARG for unknown and repeated names."""
    if not text.strip():
        return None
    names = [name.strip() for name in text.split(",")]
    known = [tensor.name for tensor in io.inputs]
    problems = [
        f"'{name}' is not an input in --model-io-config (inputs: {', '.join(known)})"
        for name in dict.fromkeys(names)
        if name not in known
    ]
    problems += [f"'{name}' is given more than once" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise invalid(f"--triton-inputs {text}: {'; '.join(problems)}")
    return tuple(names)
