"""Whether files are still those that were read: what is kept in memory of them is not used for later ones."""

from __future__ import annotations

import os
from pathlib import Path

FileStamp = tuple[int, int, int]  # time of the last change in ns, size, inode
DirectoryStamp = tuple[tuple[str, FileStamp], ...]
_BY_PRODUCT = "__pycache__"


def file_stamp(path: Path) -> FileStamp:
    """Return what differs if a file has been changed or replaced; raise OSError if it does not exist."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino


def directory_stamp(directory: Path, *, without: Path | None) -> DirectoryStamp:
    """Return the stamps of all files in a directory, except in the folder `without`."""
    left_out = None if without is None else without.resolve()
    found: list[tuple[str, FileStamp]] = []
    for place, folders, names in os.walk(directory):
        folder = Path(place)
        folders[:] = [name for name in folders if name != _BY_PRODUCT and (folder / name).resolve() != left_out]
        found += [(str(folder / name), file_stamp(folder / name)) for name in names if (folder / name).is_file()]
    return tuple(sorted(found))
