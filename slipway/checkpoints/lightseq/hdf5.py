"""Read and write a `.hdf5` file by the tables of `schema.py`.

Reading takes settings at once and arrays as places in the mapped file. Arrays may be flat or shaped, float32 or float64
(exporters pass Python lists); strings are arrays of character codes. h5py only locates datasets, and reads chunked or
compressed ones, which are allowed but unusual. Writing makes flat float32 and uint8 datasets, and texts as character
codes.
"""

from __future__ import annotations

import logging
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.checkpoints.lightseq.contents import FileContents, OutputFile, Setting, StoredArray
from slipway.checkpoints.lightseq.schema import ARRAY_KINDS, FieldKind, MessageSchema, SchemaField
from slipway.errors import invalid, unavailable
from slipway.installation import install_hint

_LOG: Final = logging.getLogger("slipway.checkpoints")
_TRUNCATED: Final = re.compile(r"truncated file: eof = (?P<there>\d+), .*stored_eof = (?P<all>\d+)", re.ASCII)
_INNER: Final = re.compile(r"\(([^()]+)\)\W*$")
STACKS: Final = ("encoder_stack", "decoder_stack")


def load_h5py() -> Any:
    """Return the library; raise UNAVAILABLE, saying what to install, if it is missing."""
    try:
        import h5py
    except ImportError:
        raise unavailable(f".hdf5 files need h5py: {install_hint('generate')}") from None
    return h5py


def read_hdf5(path: Path, schema: MessageSchema) -> FileContents:
    """Return the contents of `path`; raise INVALID_ARG if it is not an HDF5 file, or naming everything malformed."""
    h5py = load_h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise invalid(f"'{path}' is not a readable HDF5 file: {_reason(error)}") from None
    with file, _damage_named(path):
        scan = _Scan(path, file)
        scan.message(schema, "")
    if scan.problems:
        raise invalid(f"'{path}' is not a LightSeq model of this type:\n  " + "\n  ".join(scan.problems))
    for name in scan.unknown:
        _LOG.warning("%s: skipped unknown '%s'", path, name)
    return FileContents(str(path), scan.arrays, scan.settings, scan.layers)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn h5py's errors about damaged metadata into one; h5py has no exception class of its own."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise invalid(f"'{path}' is a damaged HDF5 file: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the meaning of an h5py error, whose text is about library internals, with the reason in brackets."""
    text = " ".join(str(error).split())
    cut = _TRUNCATED.search(text)
    if cut is not None:
        return f"it is truncated, with {cut['there']} of {cut['all']} bytes; copy or download it again"
    if "file signature not found" in text:
        return (
            "it lacks the signature of HDF5; it may be a LightSeq .pb file, a Git LFS pointer, or a web page that was "
            "saved instead of the file"
        )
    inner = _INNER.search(text)
    return f"{inner[1] if inner else text}; copy, download or export it again"


class _Scan:
    """One walk over an open file, with the findings so far."""

    def __init__(self, path: Path, file: Any) -> None:
        h5py = load_h5py()
        self._group, self._dataset = h5py.Group, h5py.Dataset
        self._path = path
        self._file = file
        with path.open("rb") as raw:
            self._buffer = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY)
        self._late = _LateReader(path)
        self.arrays: dict[str, StoredArray] = {}
        self.settings: dict[str, Setting] = {}
        self.layers: dict[str, int] = {}
        self.problems: list[str] = []
        self.unknown: list[str] = []

    def message(self, schema: MessageSchema, prefix: str) -> None:
        """Read the fields that the schema names below `prefix`, and record unknown names."""
        group = self._file[prefix] if prefix else self._file
        counts = tuple(f"n_{stack}" for stack in STACKS) if prefix == "model_conf/" else ()
        self.unknown += [f"{prefix}{name}" for name in group if schema.named(name) is None and name not in counts]
        for known in schema.fields.values():
            path = f"{prefix}{known.name}"
            node = group.get(known.name)
            if known.kind is FieldKind.STACK and known.message is not None:
                self.stack(path, known.message)
            elif node is None:
                continue
            elif known.message is not None:
                if self.is_group(path, node):
                    self.message(known.message, f"{path}/")
            elif not isinstance(node, self._dataset):
                self.problems.append(f"{path} is a {type(node).__name__.lower()}, expected a dataset")
            elif known.kind in ARRAY_KINDS:
                self.array(path, node, known.kind)
            else:
                self.setting(path, node, known.kind)

    def stack(self, path: str, layer: MessageSchema) -> None:
        """Read the layers of a stack: as many as `model_conf/n_...` says."""
        node = self._file.get(f"model_conf/n_{path}")
        if node is None:
            self.problems.append(f"model_conf/n_{path} is missing")
            return
        self.setting(f"model_conf/n_{path}", node, FieldKind.INT)
        found = self.settings.pop(f"model_conf/n_{path}", 0)
        count = found if isinstance(found, int) else 0
        held = self._file.get(path)
        present = {name for name in held if name.isdecimal()} if isinstance(held, self._group) else set()
        self.layers[path] = min(count, len(present) + 1)  # a random number must not cause a long loop
        for index in range(count):
            if str(index) not in present:
                self.problems.append(f"{path}/{index} is missing: model_conf/n_{path} is {count}")
                return
            if self.is_group(f"{path}/{index}", held[str(index)]):
                self.message(layer, f"{path}/{index}/")
        self.unknown += [f"{path}/{name}" for name in present if int(name) >= count]

    def is_group(self, path: str, node: Any) -> bool:
        """Return whether `node` is a group; record a problem if it is not."""
        if isinstance(node, self._group):
            return True
        self.problems.append(f"{path} is a {type(node).__name__.lower()}, expected a group")
        return False

    def array(self, path: str, node: Any, kind: FieldKind) -> None:
        """Record a dataset of numbers."""
        wanted = "ui" if kind is FieldKind.BYTES else "fui"
        if node.size and node.dtype.kind not in wanted:  # an empty list is float64
            expected = "uint8" if kind is FieldKind.BYTES else "floats"
            self.problems.append(f"{path} is {node.dtype}, expected {expected}")
            return
        if kind is FieldKind.BYTES and node.size and node.dtype.itemsize != 1:
            self.problems.append(f"{path} is {node.dtype}, expected uint8")
            return
        place = _place(node)
        if place is not None and place[0] + place[1] * place[2].itemsize > len(self._buffer):
            self.problems.append(
                f"{path} should end at {place[0] + place[1] * place[2].itemsize}, after the end of the file"
            )
            return
        read = partial(_mapped, self._buffer, *place) if place else partial(self._late.read, path)
        target = np.dtype(np.uint8 if kind is FieldKind.BYTES else np.float32)
        self.arrays[path] = StoredArray(int(node.size or 0), kind is FieldKind.BYTES, partial(_cast, read, target))

    def setting(self, path: str, node: Any, kind: FieldKind) -> None:
        """Decode a dataset that contains one value, a text or a list of integers."""
        value = np.asarray(node[()]).reshape(-1)
        if kind is FieldKind.STRING:
            text = _text(value)
            if text is None:
                self.problems.append(f"{path} is {value.dtype}, expected character codes (int8)")
            else:
                self.settings[path] = text
            return
        if value.dtype.kind not in "fuib" or (kind in (FieldKind.INT, FieldKind.INTS) and not _whole(value)):
            self.problems.append(f"{path} is {value.dtype} {value[:4].tolist()}, expected {kind.value}")
        elif kind is FieldKind.INTS:
            self.settings[path] = tuple(int(each) for each in value)
        elif value.size != 1:
            self.problems.append(f"{path} has {value.size} values, expected 1")
        else:
            types: dict[FieldKind, type[int | float | bool]] = {
                FieldKind.INT: int,
                FieldKind.FLOAT: float,
                FieldKind.BOOL: bool,
            }
            self.settings[path] = types[kind](value[0])


def _whole(value: np.ndarray) -> bool:
    return value.dtype.kind != "f" or bool((np.isfinite(value) & (value == np.round(value))).all())


def _text(value: np.ndarray) -> str | None:
    """Return the text of character codes or of HDF5's own strings, None if it is neither."""
    if value.dtype.kind in "ui":
        return bytes(value.astype(np.uint8)).decode("latin-1")
    if value.size == 0:
        return ""
    if value.dtype.kind in "SO":
        return b"".join(each.encode() if isinstance(each, str) else bytes(each) for each in value).decode("latin-1")
    return None


def _place(node: Any) -> tuple[int, int, np.dtype[Any]] | None:
    """Return where a contiguous dataset is in the file, None if it has to be read through h5py."""
    if node.chunks is not None or node.compression is not None or node.file.userblock_size or node.external:
        return None
    offset = node.id.get_offset()
    return None if offset is None else (offset, int(node.size), node.dtype)


def _mapped(buffer: mmap.mmap, offset: int, size: int, kind: np.dtype[Any]) -> np.ndarray:
    return np.frombuffer(buffer, kind, size, offset)


def _cast(read: Any, target: np.dtype[Any]) -> np.ndarray:
    value: np.ndarray = read()
    return value.reshape(-1).view(np.uint8) if target == np.uint8 else value.reshape(-1).astype(target, copy=False)


@dataclass(slots=True)
class _LateReader:
    """Reads datasets through h5py, from the reopened file; keeps the last one, which is often read in parts."""

    path: Path
    _last: tuple[str, np.ndarray] | None = field(default=None)

    def read(self, name: str) -> np.ndarray:
        """Return a whole dataset."""
        last = self._last
        if last is not None and last[0] == name:
            return last[1]
        self._last = None  # its memory is freed before the next is read
        with _damage_named(self.path), load_h5py().File(self.path, "r") as file:
            value = np.asarray(file[name][()])
        self._last = (name, value)
        return value


def write_hdf5(path: Path, schema: MessageSchema, output: OutputFile) -> None:
    """Write the datasets of `output` to `path`."""
    with load_h5py().File(path, "w") as file:
        for name, known in schema.leaves(output.layers):
            if name in output.late:
                file.create_dataset(name, data=np.float32(output.late[name]()))
            elif known.kind in ARRAY_KINDS:
                if name in output.arrays:
                    file.create_dataset(name, data=output.arrays[name].make())
            elif name in output.settings:
                file.create_dataset(name, data=_encoded(known, output.settings[name]))
        for stack, count in output.layers.items():
            file.create_dataset(f"model_conf/n_{stack}", data=np.int32(count))


def _encoded(known: SchemaField, value: Setting) -> np.ndarray | np.generic:
    if isinstance(value, str):
        return np.frombuffer(value.encode("ascii"), np.int8)
    kinds = {FieldKind.FLOAT: np.float32, FieldKind.BOOL: np.bool_}
    return np.asarray(value, kinds.get(known.kind, np.int32))
