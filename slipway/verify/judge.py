"""Judge a response: every declared output is present, with its datatype and shape, and without NaN or infinity.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from slipway.datatypes import BY_CONFIG_NAME
from slipway.verify.advice import Cause, Fault

_FLOATS: Final = ("FP16", "BF16", "FP32", "FP64")


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of a response."""

    name: str
    datatype: str
    array: np.ndarray

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} [{','.join(map(str, self.array.shape))}]"


def output_problems(config: pb.ModelConfig, outputs: Sequence[Output], rows: int | None) -> Iterator[Fault]:
    """Yield what is wrong with the outputs of one response; `rows` is the batch size that was sent."""
    answered = {output.name: output for output in outputs}
    for declared in config.output:
        output = answered.get(declared.name)
        if output is None:
            yield Fault(Cause.SILENT, f"output '{declared.name}' is declared but missing from the response")
        else:
            yield from _declaration_problems(declared, output, rows)
    for output in outputs:
        yield from _number_problems(output)


def _declaration_problems(declared: Any, output: Output, rows: int | None) -> Iterator[Fault]:
    config_type = BY_CONFIG_NAME.get(pb.DataType.Name(declared.data_type))
    if config_type is None or config_type.name != output.datatype:
        expected = config_type.name if config_type else "no datatype"
        text = f"output '{output.name}' is declared as {expected}, but the response has {output.datatype}"
        yield Fault(Cause.DATATYPE, text)
    dims = tuple(declared.dims) if rows is None else (rows, *declared.dims)
    shape = output.array.shape
    if len(dims) != len(shape) or any(want not in (-1, size) for want, size in zip(dims, shape, strict=True)):
        batch = "" if rows is None else f" for a batch of {rows}"
        text = f"output '{output.name}' is declared as {list(dims)}{batch}, but the response has {list(shape)}"
        yield Fault(Cause.SHAPE, text)


def _number_problems(output: Output) -> Iterator[Fault]:
    if output.datatype not in _FLOATS:
        return
    wrong = output.array.size - int(np.isfinite(output.array).sum())
    if wrong:
        text = f"output '{output.name}' contains NaN or infinity in {wrong} of {output.array.size} values"
        yield Fault(Cause.NOT_FINITE, text)
