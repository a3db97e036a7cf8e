"""Read and write a `.pb` file by the tables of `schema.py`.

Reading takes settings at once and arrays as places in the mapped file. Writing goes field by field, with lengths
computed from sizes, so that a whole message is never in memory: only the table of fields is, and the pages in use.
Does not know what the arrays are for.
"""

from __future__ import annotations

import logging
import mmap
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.lightseq.contents import FileContents, OutputArray, OutputFile, Setting, StoredArray
from slipway.checkpoints.lightseq.protobuf_wire import (
    DELIMITED,
    FIXED32,
    NAMES,
    VARINT,
    Buffer,
    WireError,
    WireField,
    floats,
    read_float,
    signed,
    tokens,
    varints,
    write_tag,
    write_varint,
)
from slipway.checkpoints.lightseq.schema import ARRAY_KINDS, FieldKind, MessageSchema, SchemaField
from slipway.errors import SlipwayError, invalid

_LOG: Final = logging.getLogger("slipway.checkpoints")
_WIRE_TYPES: Final = {
    FieldKind.FLOATS: (DELIMITED, FIXED32),
    FieldKind.BYTES: (DELIMITED,),
    FieldKind.FLOAT: (FIXED32,),
    FieldKind.INT: (VARINT,),
    FieldKind.INTS: (DELIMITED, VARINT),
    FieldKind.BOOL: (VARINT,),
    FieldKind.STRING: (DELIMITED,),
    FieldKind.MESSAGE: (DELIMITED,),
    FieldKind.STACK: (DELIMITED,),
}
_FLOAT_SIZE: Final = 4
# A piece of the file: its length, and its bytes or the function that makes them.
Piece = tuple[int, bytes | Callable[[], np.ndarray]]


def read_protobuf(path: Path, schema: MessageSchema) -> FileContents:
    """Return the contents of `path`; raise INVALID_ARG naming file, offset and field if it is not such a message."""
    size = path.stat().st_size
    if size == 0:
        raise invalid(f"'{path}' is empty, expected a LightSeq model")
    with path.open("rb") as file:
        # Copy-on-write: arrays may be handed to libraries that refuse read-only memory.
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    scan = _Scan(str(path), buffer)
    try:
        scan.message(schema, "", 0, size)
    except WireError as error:
        raise scan.error(error) from None
    for name, count in scan.unknown.items():
        _LOG.warning("%s: skipped %d unknown field(s) '%s'", path, count, name)
    return FileContents(str(path), scan.arrays(), scan.settings, dict(scan.layers))


@dataclass(slots=True)
class _Scan:
    """One walk over a file, with the findings and the place so far."""

    path: str
    buffer: Buffer
    settings: dict[str, Setting] = field(default_factory=dict)
    layers: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[WireField]] = field(default_factory=dict)
    kinds: dict[str, FieldKind] = field(default_factory=dict)
    where: str = ""  # the message being read

    def message(self, schema: MessageSchema, prefix: str, start: int, end: int) -> None:
        """Read the fields of one message."""
        outer, self.where = self.where, prefix
        for token in tokens(self.buffer, start, end):
            known = schema.fields.get(token.number)
            if known is None:
                self.unknown[f"{prefix}{token.number}"] += 1
                continue
            if token.wire_type not in _WIRE_TYPES[known.kind]:
                raise WireError(
                    f"field '{prefix}{known.name}' ({token.number}) is {NAMES[token.wire_type]}, "
                    f"expected {known.kind.value}",
                    token.tag_start,
                )
            self.take(known, f"{prefix}{known.name}", token)
        self.where = outer

    def take(self, known: SchemaField, path: str, token: WireField) -> None:
        """Read one field: enter messages, record arrays, decode settings (the last one counts, as in protobuf)."""
        if known.message is not None:
            inside = path
            if known.kind is FieldKind.STACK:
                inside = f"{path}/{self.layers[path]}"
                self.layers[path] += 1
            self.message(known.message, f"{inside}/", token.start, token.end)
        elif known.kind in ARRAY_KINDS:
            self.array(known.kind, path, token)
        else:
            self.settings[path] = self.setting(known.kind, path, token)

    def array(self, kind: FieldKind, path: str, token: WireField) -> None:
        """Record a piece of an array: floats may come in several pieces; of bytes, the last field counts."""
        if kind is FieldKind.FLOATS and token.wire_type == DELIMITED and (token.end - token.start) % 4:
            raise WireError(
                f"field '{path}' has {token.end - token.start} bytes, not a whole number of floats", token.tag_start
            )
        self.kinds[path] = kind
        if kind is FieldKind.BYTES:
            self.places[path] = [token]
        else:
            self.places.setdefault(path, []).append(token)

    def setting(self, kind: FieldKind, path: str, token: WireField) -> Setting:
        """Return the value of a field that is not an array."""
        if kind is FieldKind.FLOAT:
            return read_float(self.buffer, token.end - 4)
        if kind is FieldKind.BOOL:
            return token.value != 0
        if kind is FieldKind.INT:
            return signed(token.value)
        if kind is FieldKind.STRING:
            return self.text(path, token)
        found = self.settings.get(path)
        before = found if isinstance(found, tuple) else ()
        if token.wire_type == VARINT:
            return (*before, signed(token.value))
        return (*before, *(signed(value) for value in varints(self.buffer, token.start, token.end)))

    def text(self, path: str, token: WireField) -> str:
        """Return a string field."""
        try:
            return bytes(self.buffer[token.start : token.end]).decode()
        except UnicodeDecodeError:
            raise WireError(f"field '{path}' is not valid UTF-8", token.tag_start) from None

    def arrays(self) -> dict[str, StoredArray]:
        """Return the arrays that were found."""
        return {path: _stored(self.buffer, self.kinds[path], pieces) for path, pieces in self.places.items()}

    def error(self, error: WireError) -> SlipwayError:
        """Return the error with file, offset and message."""
        inside = f" in {self.where.rstrip('/')}" if self.where else ""
        return invalid(
            f"'{self.path}' is not a LightSeq model of this type: {error} (offset {error.offset}{inside}); "
            f"check model_type, and that the file is complete"
        )


def _stored(buffer: Buffer, kind: FieldKind, pieces: list[WireField]) -> StoredArray:
    if kind is FieldKind.BYTES:
        size = pieces[0].end - pieces[0].start
        return StoredArray(size, quantised=True, read=partial(np.frombuffer, buffer, np.uint8, size, pieces[0].start))
    size = sum(each.repeats if each.wire_type == FIXED32 else (each.end - each.start) // 4 for each in pieces)
    return StoredArray(size, quantised=False, read=partial(_read_floats, buffer, pieces))


def _read_floats(buffer: Buffer, pieces: list[WireField]) -> np.ndarray:
    views = [floats(buffer, each) for each in pieces]
    return views[0] if len(views) == 1 else np.concatenate(views)


def write_protobuf(path: Path, schema: MessageSchema, output: OutputFile) -> None:
    """Write the message of `output` to `path`."""
    with path.open("wb") as file:
        for _, piece in _pieces(schema, "", output):
            file.write(piece if isinstance(piece, bytes) else piece().data)


def message_size(schema: MessageSchema, output: OutputFile) -> int:
    """Return the length of the file in bytes."""
    return sum(size for size, _ in _pieces(schema, "", output))


def _pieces(message: MessageSchema, prefix: str, output: OutputFile) -> Iterator[Piece]:
    for number in sorted(message.fields):
        known = message.fields[number]
        path = f"{prefix}{known.name}"
        if known.message is not None:
            counted = [f"{path}/{index}/" for index in range(output.layers.get(path, 0))]
            for inside in counted if known.kind is FieldKind.STACK else [f"{path}/"]:
                yield from _inner(number, known.message, inside, output)
        elif path in output.late:
            yield _literal(write_tag(number, FIXED32))
            yield _FLOAT_SIZE, _late(output.late[path])
        elif known.kind in ARRAY_KINDS:
            if path in output.arrays and output.arrays[path].size:
                yield from _array_pieces(number, output.arrays[path])
        elif output.settings.get(path):  # proto3 leaves out what is zero or empty
            yield _literal(_encoded(known, output.settings[path]))


def _inner(number: int, message: MessageSchema, prefix: str, output: OutputFile) -> Iterator[Piece]:
    pieces = list(_pieces(message, prefix, output))
    length = sum(size for size, _ in pieces)
    yield _literal(write_tag(number, DELIMITED) + write_varint(length))
    yield from pieces


def _array_pieces(number: int, values: OutputArray) -> Iterator[Piece]:
    length = values.size * values.width
    yield _literal(write_tag(number, DELIMITED) + write_varint(length))
    yield length, values.make


def _literal(data: bytes) -> Piece:
    return len(data), data


def _late(value: Callable[[], float]) -> Callable[[], np.ndarray]:
    return lambda: np.asarray([value()], "<f4")


def _encoded(known: SchemaField, value: Setting) -> bytes:
    if known.kind is FieldKind.FLOAT and not isinstance(value, str | tuple):
        return write_tag(known.number, FIXED32) + struct.pack("<f", value)
    if isinstance(value, str):
        data = value.encode()
    elif isinstance(value, tuple):
        data = b"".join(write_varint(each) for each in value)
    else:
        return write_tag(known.number, VARINT) + write_varint(int(value))
    return write_tag(known.number, DELIMITED) + write_varint(len(data)) + data
