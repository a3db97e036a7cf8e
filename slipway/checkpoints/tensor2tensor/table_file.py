"""Sorted tables of LevelDB's format, in which TensorFlow keeps the index of a checkpoint. Read whole: they are small.

Format (tensorflow/tsl/lib/io/table_format.txt): data blocks, an index block that names them, and a footer of 48 bytes.
A block is a list of entries, each with the number of bytes that its key shares with the one before, and the places of
complete keys; one byte of compression and a masked CRC-32C follow it. Knows nothing about checkpoints.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.checkpoints.lightseq.protobuf_wire import WireError, read_varint
from slipway.checkpoints.tensor2tensor.crc32c import masked_crc32c
from slipway.errors import SlipwayError, invalid, not_found, unsupported

_FOOTER_SIZE: Final = 48
_MAGIC: Final = struct.pack("<Q", 0xDB4775248B80FB57)
_TRAILER: Final = struct.Struct("<BI")  # compression, checksum
_UINT32: Final = struct.Struct("<I")
_COMPRESSIONS: Final = {1: "snappy", 2: "zlib"}
_MAX_FILE_SIZE: Final = 1 << 28  # bytes; an index has about 100 for each array


def read_table(path: Path) -> dict[bytes, bytes]:
    """Return all entries of a table by key, in the order of the file.

    Raise NOT_FOUND if there is no such file, UNSUPPORTED for a compressed one, and INVALID_ARG with the offset of the
    block if it is damaged.
    """
    data = _file(path)
    if len(data) < _FOOTER_SIZE or data[-len(_MAGIC) :] != _MAGIC:
        raise invalid(f"'{path}' is not a table of TensorFlow, or it is cut short: its last 8 bytes are not the magic")
    try:
        entries: dict[bytes, bytes] = {}
        for _, handle in _entries(data, *_index_place(data)):
            entries.update(_entries(data, *_place(handle, 0)))
    except WireError as error:
        raise invalid(f"'{path}' is damaged: {error}") from None
    except SlipwayError as error:
        raise SlipwayError(error.code, f"'{path}': {error.message}") from None
    return entries


def _file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_SIZE:
            raise invalid(f"'{path}' has {size} bytes, which is too large for the index of a checkpoint")
        return path.read_bytes()
    except FileNotFoundError:
        raise not_found(f"'{path}' does not exist") from None
    except OSError as error:
        raise invalid(f"'{path}' cannot be read: {error.strerror}") from None


def _index_place(data: bytes) -> tuple[int, int]:
    """Return offset and size of the index block, which the footer gives after those of an unused block."""
    footer = data[-_FOOTER_SIZE:]
    _, after = read_varint(footer, 0, _FOOTER_SIZE)
    _, after = read_varint(footer, after, _FOOTER_SIZE)
    return _place(footer, after)


def _place(handle: bytes, start: int) -> tuple[int, int]:
    offset, after = read_varint(handle, start, len(handle))
    size, _ = read_varint(handle, after, len(handle))
    return offset, size


def _entries(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the block at `offset`, after its checksum was compared."""
    end = offset + size
    if end + _TRAILER.size > len(data) - _FOOTER_SIZE:
        raise invalid(f"the block at byte {offset} should end at byte {end}: the file is damaged or cut short")
    compression, checksum = _TRAILER.unpack_from(data, end)
    if masked_crc32c(data[offset : end + 1]) != checksum:
        raise invalid(f"the block at byte {offset} has a wrong checksum: the file is damaged")
    if compression:
        name = _COMPRESSIONS.get(compression, f"type {compression}")
        raise unsupported(f"the block at byte {offset} is compressed ({name}); only uncompressed tables can be read")
    block = data[offset:end]
    limit = _restarts_start(block, offset)
    at, key, first = 0, b"", True
    while at < limit:
        shared, at = read_varint(block, at, limit)
        unshared, at = read_varint(block, at, limit)
        length, at = read_varint(block, at, limit)
        if shared > len(key) or at + unshared + length > limit:
            raise invalid(f"the block at byte {offset} has an entry that does not fit: the file is damaged")
        following = key[:shared] + block[at : at + unshared]
        if following <= key and not first:
            raise invalid(f"the block at byte {offset} is not sorted: the file is damaged")
        key, at, first = following, at + unshared, False
        yield key, block[at : at + length]
        at += length


def _restarts_start(block: bytes, offset: int) -> int:
    """Return where the entries end and the places of complete keys begin; their number is at the end of the block."""
    count = _UINT32.unpack_from(block, len(block) - 4)[0] if len(block) >= 4 else -1
    start = len(block) - 4 * (count + 1)
    if count < 0 or start < 0:
        raise invalid(f"the block at byte {offset} is too short for its restart points: the file is damaged")
    return int(start)
