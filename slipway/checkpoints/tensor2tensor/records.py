"""TFRecord files: payloads one after another, each with its length and two checksums.

Format (tensorflow/core/lib/io/record_writer.h): uint64 length, uint32 masked CRC-32C of these 8 bytes, the payload,
uint32 masked CRC-32C of the payload; all little-endian. Knows nothing about the payloads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from slipway.checkpoints.tensor2tensor.crc32c import masked_crc32c
from slipway.errors import SlipwayError, invalid, not_found, unavailable

_LENGTH: Final = struct.Struct("<Q")
_HEAD: Final = struct.Struct("<QI")
_CRC: Final = struct.Struct("<I")
_MAX_PAYLOAD: Final = 1 << 30  # bytes


class RecordWriter:
    """An open TFRecord file to append payloads to. Raise UNAVAILABLE if the disk is full or the file not writable."""

    __slots__ = ("_file", "path")

    def __init__(self, path: Path, *, buffering: int = 1 << 16) -> None:
        self.path = path
        try:
            self._file = path.open("wb", buffering)
        except OSError as error:
            raise _not_written(path, error) from None

    def write(self, payload: bytes) -> None:
        """Append one record."""
        length = _LENGTH.pack(len(payload))
        head = length + _CRC.pack(masked_crc32c(length))
        try:
            self._file.write(head + payload + _CRC.pack(masked_crc32c(payload)))
        except OSError as error:
            raise _not_written(self.path, error) from None

    def close(self) -> None:
        """Write what is buffered and close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise _not_written(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def write_records(path: Path, payloads: Iterable[bytes]) -> int:
    """Write a file of all `payloads`, and return their number."""
    count = 0
    with RecordWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)
            count += 1
    return count


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the payloads of a file, one in memory at a time.

    Raise NOT_FOUND if there is no such file, and INVALID_ARG with the offset of the record if it is damaged.
    """
    try:
        file = path.open("rb", 1 << 16)
    except FileNotFoundError:
        raise not_found(f"'{path}' does not exist") from None
    except OSError as error:
        raise _not_read(path, error) from None
    with file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        while (payload := _read_record(file, path, offset, size)) is not None:
            yield payload
            offset += _HEAD.size + len(payload) + _CRC.size


def _read_record(file: BinaryIO, path: Path, offset: int, size: int) -> bytes | None:
    """Return the payload of the record that begins at `offset`, where the file of `size` bytes is; None at its end."""
    head = _read(file, path, _HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise _damaged(path, offset, f"the file ends after {len(head)} of the {_HEAD.size} bytes of its head")
    length, length_crc = _HEAD.unpack(head)
    if masked_crc32c(head[: _LENGTH.size]) != length_crc:
        raise _damaged(path, offset, "the checksum of its length is wrong")
    if length > _MAX_PAYLOAD:
        raise _damaged(path, offset, f"it has {length} bytes, more than the limit of {_MAX_PAYLOAD}")
    left = max(0, size - offset - _HEAD.size)
    body = _read(file, path, min(length + _CRC.size, left))  # what a damaged head claims is not made room for
    if len(body) < length + _CRC.size:
        raise _damaged(path, offset, f"the file ends after {len(body)} of its {length} bytes and their checksum")
    payload = body[:length]
    if masked_crc32c(payload) != _CRC.unpack_from(body, length)[0]:
        raise _damaged(path, offset, "the checksum of its payload is wrong")
    return payload


def _read(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise _not_read(path, error) from None


def _damaged(path: Path, offset: int, what: str) -> SlipwayError:
    return invalid(f"'{path}' is damaged: record at byte {offset}: {what}")


def _not_read(path: Path, error: OSError) -> SlipwayError:
    return invalid(f"'{path}' cannot be read: {error.strerror}")


def _not_written(path: Path, error: OSError) -> SlipwayError:
    return unavailable(f"'{path}' cannot be written: {error.strerror}")
