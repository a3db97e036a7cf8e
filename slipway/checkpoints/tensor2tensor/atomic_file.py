"""Files that exist whole or not at all, also after a power cut: written under another name, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from slipway.errors import unavailable

INCOMPLETE: Final = ".incomplete"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` at the end of the block.

    If the block fails or the disk is full, `path` keeps its earlier contents; the latter raises UNAVAILABLE.
    """
    incomplete = path.with_name(path.name + INCOMPLETE)
    try:
        with incomplete.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        incomplete.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise unavailable(f"'{path}' cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            incomplete.unlink()


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
