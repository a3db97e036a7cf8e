"""Files in the system's shared memory, which are gone after a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

DIRECTORY = Path("/dev/shm")  # noqa: S108  where Linux keeps it
needs_shared_memory = pytest.mark.skipif(not DIRECTORY.is_dir(), reason="the system keeps shared memory elsewhere")

_NUMBER = count()


@contextmanager
def shared(content: bytes | int) -> Iterator[Path]:
    """Make shared memory with this content, or with this many zeros; yield its file, whose name is the key."""
    path = DIRECTORY / f"slipway-test-{os.getpid()}-{next(_NUMBER)}"
    path.write_bytes(bytes(content))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def read(path: Path, dtype: object, count: int, offset: int = 0) -> list[object]:
    """Return `count` numbers at a byte of shared memory."""
    return np.frombuffer(path.read_bytes(), dtype, count, offset).tolist()
