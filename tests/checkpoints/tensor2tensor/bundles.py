"""Writes TensorFlow bundles, byte by byte from their format, to test the reader with what TensorFlow does not write."""

import struct
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from tests.checkpoints.tensor2tensor.independent import masked_crc

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries, compression=0, *, interval=16):
    """Return a block with shared prefixes, its compression byte and its checksum."""
    data, restarts, last = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % interval == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    data += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + bytes([compression])
    return data + struct.pack("<I", masked_crc(data))


def table(entries, compression=0, *, per_block=5):
    """Return a table of sorted entries in several data blocks."""
    data, handles = b"", []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        made = block(part, compression, interval=3)
        handles.append((part[-1][0], varint(len(data)) + varint(len(made) - 5)))
        data += made
    meta = block([])
    meta_handle = varint(len(data)) + varint(len(meta) - 5)
    data += meta
    index = block(handles)
    footer = meta_handle + varint(len(data)) + varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + MAGIC


@dataclass
class Entry:
    """The index entry of one array; fields that are not None replace the true ones."""

    dtype: int
    shape: bytes
    shard: int
    offset: int
    size: int
    crc: int
    more: bytes = b""

    def encode(self):
        values = {1: self.dtype, 3: self.shard, 4: self.offset, 5: self.size}
        numbers = b"".join(field(number, value) for number, value in values.items())
        return numbers + field(2, self.shape) + b"\x35" + struct.pack("<I", self.crc) + self.more


def shape_of(array):
    return b"".join(field(2, field(1, size)) for size in array.shape)


def entries_of(arrays, shards=1):
    """Return the index entries of arrays and the bytes of the data files, which get the arrays in turn."""
    files, entries = [b""] * shards, {}
    for index, (name, array) in enumerate(sorted(arrays.items())):
        data, shard = np.ascontiguousarray(array).tobytes(), index % shards
        dtype = "bfloat16" if array.dtype == ml_dtypes.bfloat16 else array.dtype.name
        entries[name] = Entry(DTYPES[dtype], shape_of(array), shard, len(files[shard]), len(data), masked_crc(data))
        files[shard] += data
    return entries, files


def write_bundle(prefix, arrays, *, shards=1, change=None, header=None, compression=0):
    """Write a bundle; `change` may alter the entries, `header` replaces the header's bytes."""
    entries, files = entries_of(arrays, shards)
    if change is not None:
        change(entries)
    head = field(1, shards) + field(3, field(1, 1)) if header is None else header
    rows = [(b"", head), *((name.encode(), entry.encode()) for name, entry in sorted(entries.items()))]
    prefix.with_name(prefix.name + ".index").write_bytes(table(rows, compression))
    for index, data in enumerate(files):
        prefix.with_name(f"{prefix.name}.data-{index:05}-of-{shards:05}").write_bytes(data)
    return prefix
