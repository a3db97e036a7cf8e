"""Writes the records of a file in random order, with only their offsets in memory. Knows no examples."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file

_LENGTH: Final = struct.Struct("<Q")
_EXTRA: Final = 16  # bytes of a record besides its payload


def shuffle_records(source: Path, target: Path, random: np.random.Generator) -> None:
    """Write the records of a TFRecord file of this process to another one, whole or not at all, in random order."""
    with atomic_file(target) as file:
        if source.stat().st_size == 0:
            return
        with source.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            offsets = np.fromiter(_offsets(data), np.int64)
            ends = np.append(offsets[1:], len(data))
            for index in random.permutation(len(offsets)):
                file.write(data[offsets[index] : ends[index]])


def _offsets(data: mmap.mmap) -> Iterator[int]:
    at = 0
    while at < len(data):
        yield at
        at += _LENGTH.unpack_from(data, at)[0] + _EXTRA
