"""The SHA-256 of a source's content: every file that a conversion could read, by name and bytes.

To read a large checkpoint takes longer than to serve it, so digests of large files are kept, and used as long as path,
size, inode and both times are the same. A file that changed in the last seconds is always read: its next change might
not change its times.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec

from slipway.backends.onnxruntime.external_data import external_data
from slipway.errors import invalid

LARGE: Final = 1 << 20  # bytes; smaller files are read every time
_MOST_KEPT: Final = 10_000
_MOST_FILES: Final = 100_000
_SETTLED_NS: Final = 2_000_000_000  # coarser than the times of any file system


class KeptDigest(msgspec.Struct, frozen=True, array_like=True):
    """The digest of one file, and the state in which it had it."""

    size: int
    inode: int
    device: int
    modified_ns: int
    changed_ns: int
    digest: str

    def fits(self, state: os.stat_result) -> bool:
        """Return whether a file is in the same state."""
        return (self.size, self.inode, self.device, self.modified_ns, self.changed_ns) == _identity(state)


class FileDigests:
    """The digests of files, of which those of large ones are kept in a file."""

    def __init__(self, kept: Path) -> None:
        self._file = kept
        self._kept = _read(kept)
        self._is_changed = False
        self.bytes_read = 0

    def of(self, path: Path, state: os.stat_result) -> str:
        """Return the digest of a regular file in the state that was just looked up."""
        name = str(path.resolve())
        known = self._kept.get(name)
        if known is not None and known.fits(state):
            return known.digest
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.bytes_read += state.st_size
        if state.st_size >= LARGE and time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED_NS:
            self._kept.pop(name, None)  # so that it becomes the last one
            self._kept[name] = KeptDigest(*_identity(state), digest)
            self._is_changed = True
        return digest

    def save(self) -> None:
        """Keep the digests of large files for the next start; without room for them, it reads the files again."""
        if not self._is_changed:
            return
        rows = dict(list(self._kept.items())[-_MOST_KEPT:])
        with suppress(OSError), NamedTemporaryFile(dir=self._file.parent, delete=False) as new:
            try:
                new.write(msgspec.json.encode(rows))
                new.flush()
                Path(new.name).replace(self._file)
            except OSError:
                Path(new.name).unlink()
                raise


def content_digest(source: Path, digests: FileDigests) -> str:
    """Return the digest of a file with its external data, or of all files of a directory that are not hidden.

    Raise INVALID_ARG if there are too many files for a checkpoint, and OSError if one cannot be read.
    """
    whole = hashlib.sha256()
    for name, path in sorted(_files(source)):
        state = path.stat()
        if stat.S_ISREG(state.st_mode):  # a FIFO would wait for ever
            whole.update(f"{len(name)}:{name}:{digests.of(path, state)}\n".encode(errors="surrogateescape"))
    digests.save()
    return whole.hexdigest()


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each file."""
    if source.is_file():
        yield source.suffix, source
        for name in external_data(source) if source.suffix == ".onnx" else ():
            if (source.parent / name).is_file():  # if not, the conversion says so
                yield name, source.parent / name
        return
    for count, path in enumerate(_walk(source, set())):
        if count == _MOST_FILES:
            raise invalid(f"'{source}' has more than {_MOST_FILES} files, too many for a checkpoint")
        yield str(path.relative_to(source)), path


def _walk(directory: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the files of a directory and those below it, also through links, but each directory once."""
    state = directory.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.exists():  # not a link to nothing
            yield path


def _identity(state: os.stat_result) -> tuple[int, int, int, int, int]:
    return state.st_size, state.st_ino, state.st_dev, state.st_mtime_ns, state.st_ctime_ns


def _read(kept: Path) -> dict[str, KeptDigest]:
    """Return the digests that were kept; none if the file is missing or damaged."""
    try:
        return msgspec.json.decode(kept.read_bytes(), type=dict[str, KeptDigest])
    except (OSError, msgspec.MsgspecError, ValueError):
        return {}
