"""The files beside an ONNX file that hold its weights.

Reads the few fields it needs (onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.external_data) and
skips the weights, so the package `onnx` is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from slipway.backends.onnxruntime.message_parts import GRAPH, parts

_INITIALIZER: Final = 5
_EXTERNAL_DATA: Final = 13
_KEY, _VALUE = 1, 2
_LOCATION: Final = b"location"


def external_data(path: Path) -> list[str]:
    """Return the paths, relative to the file's directory, of the files that its initializers are in; none if the file
    cannot be parsed."""
    try:
        with path.open("rb") as file:
            return list(dict.fromkeys(_locations(file, path.stat().st_size)))
    except ValueError:
        return []


def _locations(file: BinaryIO, size: int) -> Iterator[str]:
    for number, end in parts(file, size):
        if number != GRAPH:
            continue
        for field, tensor_end in parts(file, end):
            if field != _INITIALIZER:
                continue
            for part, entry_end in parts(file, tensor_end):
                if part == _EXTERNAL_DATA:
                    entry = {key: file.read(stop - file.tell()) for key, stop in parts(file, entry_end)}
                    if entry.get(_KEY) == _LOCATION:
                        yield entry.get(_VALUE, b"").decode(errors="surrogateescape")
