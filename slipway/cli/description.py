"""What a server says about a model, checked: the server may be any, and may send anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from slipway.errors import invalid, shown, unavailable

_TEXT: Final = "INPUT_TEXT"


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor to send."""

    datatype: str
    array: np.ndarray

    def plain(self) -> list[Any]:
        """Return the values without the shape, as JSON has them."""
        return [each.decode() if isinstance(each, bytes) else each for each in self.array.ravel().tolist()]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What the server reports about a model; `optional` names the inputs that a request may omit; `most_rows` is the
    row limit of a request, 0 for no limit; `version` is the requested one, "" for the model's default."""

    name: str
    inputs: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    most_rows: int
    optional: frozenset[str] = frozenset()
    outputs: Mapping[str, str] = field(default_factory=dict)
    decoupled: bool = False
    version: str = ""

    @property
    def text_input(self) -> str:
        """The string input that a request must have, or else `INPUT_TEXT`; raise `SlipwayError` unless there is exactly
        one."""
        strings = [name for name, kind in self.inputs.items() if kind == "BYTES"]
        names = [name for name in strings if name not in self.optional] or [name for name in strings if name == _TEXT]
        if len(names) != 1:
            declared = ", ".join(f"{name} {datatype}" for name, datatype in self.inputs.items())
            raise invalid(f"model '{self.name}' has {len(names)} string inputs ({declared}); use --inputs")
        return names[0]

    def text_array(self, texts: Sequence[str]) -> InputTensor:
        """Return the texts in the shape of the string input: [rows, 1, ...], or [1] for a model without batches."""
        shape = self.shapes[self.text_input]
        array = np.array([text.encode() for text in texts], dtype=np.object_)
        return InputTensor("BYTES", array.reshape(len(texts), *([1] * (len(shape) - 1))))


class _Tensor(msgspec.Struct):
    """A tensor in the metadata; numbers may be strings, as protobuf's JSON has them."""

    name: str
    datatype: str
    shape: Annotated[list[int], msgspec.Meta(max_length=32)] = []


class _Metadata(msgspec.Struct):
    inputs: list[_Tensor] = []
    outputs: list[_Tensor] = []


class _Input(msgspec.Struct):
    name: str = ""
    optional: bool = False


class _Policy(msgspec.Struct):
    decoupled: bool = False


class _Config(msgspec.Struct):
    max_batch_size: int = 0
    input: list[_Input] = []
    model_transaction_policy: _Policy = msgspec.field(default_factory=_Policy)


def read_description(metadata: Any, config: Any, model: str, version: str) -> ModelDescription:
    """Return the model that the server's answers describe; raise UNAVAILABLE if they are not of the protocol."""
    if isinstance(config, dict) and "config" in config:  # over gRPC
        config = config["config"]
    try:
        found = msgspec.convert(metadata, _Metadata, strict=False)
        declared = msgspec.convert(config, _Config, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise unavailable(
            f"the server's description of model '{model}' is not of the protocol: {shown(error)}"
        ) from None
    takes_any = any(tensor.shape[0] == -1 for tensor in found.inputs if tensor.shape)
    return ModelDescription(
        model,
        {tensor.name: tensor.datatype for tensor in found.inputs},
        {tensor.name: tuple(tensor.shape) for tensor in found.inputs},
        declared.max_batch_size or (0 if takes_any else 1),
        frozenset(tensor.name for tensor in declared.input if tensor.optional),
        {tensor.name: tensor.datatype for tensor in found.outputs},
        declared.model_transaction_policy.decoupled,
        version,
    )
