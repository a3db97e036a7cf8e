"""Drop the pages of mapped files after they were read once.

Otherwise a mapped checkpoint stays in the process's resident memory next to the engine's copy, and loading seems to
need the weights twice. Dropped pages stay in the system's cache and come back when they are read again (nothing writes
to weights).
"""

from __future__ import annotations

import mmap

import numpy as np


class MappedPages:
    """The mappings behind the arrays that were read since the last `release`."""

    def __init__(self) -> None:
        self._mappings: dict[int, mmap.mmap] = {}

    def read(self, array: np.ndarray) -> np.ndarray:
        """Return the array, and remember the file it is mapped from, if it is."""
        mapping = _mapping(array)
        if mapping is not None:
            self._mappings[id(mapping)] = mapping
        return array

    def release(self) -> None:
        """Drop the pages of all these mappings."""
        for mapping in self._mappings.values():
            _drop(mapping)
        self._mappings.clear()


def release_pages(array: np.ndarray) -> None:
    """Drop the pages of the mapped file that an array is a view of."""
    mapping = _mapping(array)
    if mapping is not None:
        _drop(mapping)


def _drop(mapping: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of, None for an array with its own memory."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base
