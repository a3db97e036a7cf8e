"""Memory that processes share through a file descriptor: a memfd, or an unlinked file on systems without it (macOS).

Does not know what the memory contains or who uses it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (a private directory is made in it)
_NAME: Final = "slipway-tensors"
_ZEROS: Final = bytes(1 << 20)


def anonymous_file(size: int) -> int:
    """Return a descriptor of `size` bytes of zeros, freed once no process has them open or mapped; the caller owns it.

    Raise OSError if memory runs out.
    """
    if hasattr(os, "memfd_create"):
        return anonymous_memory(size)
    try:
        return _unlinked_file(_SHARED_MEMORY, size)
    except OSError:  # missing, or too small, as in containers
        return _unlinked_file(Path(tempfile.gettempdir()), size)


def anonymous_memory(size: int) -> int:
    """Return the descriptor of a memfd of `size` zeros, which may still change its size and be sealed."""
    return _sized(os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), size, os.ftruncate)


def _unlinked_file(parent: Path, size: int) -> int:
    """Return an unlinked file with its space reserved: if a disk is full, writing to a mapped page without space kills
    the process."""
    with tempfile.TemporaryDirectory(prefix="slipway-", dir=parent) as private:
        descriptor = os.open(Path(private) / _NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    return _sized(descriptor, size, _reserve)


def _sized(descriptor: int, size: int, resize: Callable[[int, int], None]) -> int:
    try:
        resize(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    left = size
    while left:
        left -= os.write(descriptor, _ZEROS[:left])
