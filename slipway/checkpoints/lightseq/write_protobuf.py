"""Write a `.pb` file field by field: lengths follow from sizes, so that no message is ever in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.lightseq.contents import Setting
from slipway.checkpoints.lightseq.output import OutputArray, OutputFile
from slipway.checkpoints.lightseq.protobuf_wire import DELIMITED, FIXED32, VARINT, write_tag, write_varint
from slipway.checkpoints.lightseq.schema import ARRAY_KINDS, FieldKind, MessageSchema, SchemaField

_FLOAT_SIZE: Final = 4
# A piece of the file: its length, and its bytes or what makes them.
Piece = tuple[int, bytes | Callable[[], np.ndarray]]


def write_protobuf(path: Path, schema: MessageSchema, output: OutputFile) -> None:
    """Write the message of `output` to `path`."""
    with path.open("wb") as file:
        for _, piece in _message(schema, "", output):
            file.write(piece if isinstance(piece, bytes) else piece().data)


def message_size(schema: MessageSchema, output: OutputFile) -> int:
    """Return the length of the file in bytes."""
    return sum(size for size, _ in _message(schema, "", output))


def _message(message: MessageSchema, prefix: str, output: OutputFile) -> Iterator[Piece]:
    for number in sorted(message.fields):
        known = message.fields[number]
        path = f"{prefix}{known.name}"
        if known.kind is FieldKind.STACK:
            for index in range(output.layers.get(path, 0)):
                yield from _inner(known, f"{path}/{index}/", output)
        elif known.message is not None:
            yield from _inner(known, f"{path}/", output)
        elif path in output.late:
            yield _literal(write_tag(number, FIXED32))
            yield _FLOAT_SIZE, _late(output.late[path])
        elif known.kind in ARRAY_KINDS:
            if path in output.arrays and output.arrays[path].size:
                yield from _array(number, output.arrays[path])
        elif output.settings.get(path):  # proto3 leaves out what is zero or empty
            yield _literal(_setting(known, output.settings[path]))


def _inner(known: SchemaField, prefix: str, output: OutputFile) -> Iterator[Piece]:
    assert known.message is not None  # noqa: S101  asked for messages only
    pieces = list(_message(known.message, prefix, output))
    length = sum(size for size, _ in pieces)
    yield _literal(write_tag(known.number, DELIMITED) + write_varint(length))
    yield from pieces


def _array(number: int, values: OutputArray) -> Iterator[Piece]:
    length = values.size * values.width
    yield _literal(write_tag(number, DELIMITED) + write_varint(length))
    yield length, values.make


def _literal(data: bytes) -> Piece:
    return len(data), data


def _late(value: Callable[[], float]) -> Callable[[], np.ndarray]:
    return lambda: np.asarray([value()], "<f4")


def _setting(known: SchemaField, value: Setting) -> bytes:
    if known.kind is FieldKind.FLOAT and not isinstance(value, str | tuple):
        return write_tag(known.number, FIXED32) + struct.pack("<f", value)
    if isinstance(value, str):
        data = value.encode()
    elif isinstance(value, tuple):
        data = b"".join(write_varint(each) for each in value)
    else:
        return write_tag(known.number, VARINT) + write_varint(int(value))
    return write_tag(known.number, DELIMITED) + write_varint(len(data)) + data
