"""Converted models on disk: found by content, written whole or not at all, the least recently used removed first.

An entry is a directory named after a digest of the specification, every array, the storage type and the library's
version, so that an entry never goes stale. Entries are written under another name, then renamed; if two processes
convert the same model, one wins and the other uses its entry. Does not know what an entry contains.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import numpy as np

from slipway.errors import SlipwayError, unavailable
from slipway.transformer.mapped_pages import MappedPages
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights

LARGEST_BYTES: Final = 20 * 2**30
MOST_ENTRIES: Final = 64
# Opening an entry never takes longer, nor does writing one. A file that a model maps outlives the removal of its entry.
YOUNG_SECONDS: Final = 3600.0
ABANDONED_SECONDS: Final = 24 * 3600.0
PARTIAL: Final = ".partial-"
LAYOUT: Final = "1"  # increased when the same arrays are written differently

_LOG: Final = logging.getLogger("slipway.transformer")


def default_directory() -> Path:
    """Return $SLIPWAY_CACHE_DIR, or slipway/ctranslate2 in the user's XDG cache."""
    named = os.environ.get("SLIPWAY_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway" / "ctranslate2"


def digest(spec: Transformer, weights: Weights, *parts: str) -> str:
    """Return the name of the entry; reads every array once, one at a time.

    SHA-256, because processors have instructions for it (measured: 1.3 GB/s, BLAKE2b 0.5).
    """
    whole = hashlib.sha256("\0".join((LAYOUT, *parts, repr(spec))).encode())
    pages = MappedPages()
    for name in sorted(weights):
        array = np.ascontiguousarray(pages.read(weights[name]))
        whole.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
        whole.update(array.reshape(-1).view(np.uint8).data)
        pages.release()
    return whole.hexdigest()[:40]


class ConversionCache:
    """A directory of entries."""

    def __init__(
        self, directory: Path, *, largest_bytes: int = LARGEST_BYTES, most_entries: int = MOST_ENTRIES
    ) -> None:
        self.directory = directory
        self._largest_bytes = largest_bytes
        self._most_entries = most_entries

    def entry(self, name: str, write: Callable[[Path], None], *, needed_bytes: int) -> Path:
        """Return the directory of the entry; if it does not exist yet, `write` fills an empty directory for it.

        Raises UNAVAILABLE, and leaves nothing behind, if the disk is full or the directory is not writable.
        """
        path = self.directory / name
        if not path.is_dir():
            try:
                self._make(path, write, needed_bytes)
            except OSError as error:
                raise self._unwritable(error) from error
        try:
            os.utime(path)  # so that an entry in use is not removed
        except OSError as error:  # a cache that another user filled works too
            _LOG.debug("cannot mark %s as used: %s", path, error)
        return path

    def discard(self, path: Path) -> None:
        """Remove a damaged entry."""
        if _is_entry(path):
            _remove(path)

    def _make(self, path: Path, write: Callable[[Path], None], needed_bytes: int) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._trim(needed_bytes, keep=path)
        free = shutil.disk_usage(self.directory).free
        if free < needed_bytes:
            raise unavailable(
                f"the converted model needs {needed_bytes >> 20} MiB in {self.directory}, but only {free >> 20} MiB "
                "are free: make room, or set SLIPWAY_CACHE_DIR to a directory on a larger disk"
            )
        partial = Path(mkdtemp(prefix=PARTIAL, dir=self.directory))
        try:
            write(partial)
            _flush(partial)
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():  # otherwise another process was faster and wrote the same
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # no longer there if it was renamed

    def _unwritable(self, error: OSError) -> SlipwayError:
        return unavailable(
            f"cannot write the converted model to {self.directory}: {error.strerror or error}; make room there or make "
            "it writable, or set SLIPWAY_CACHE_DIR to another directory"
        )

    def _trim(self, needed_bytes: int, *, keep: Path) -> None:
        """Remove abandoned partial entries, then the least recently used ones until the new one has room."""
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        for path in self.directory.iterdir():
            try:
                used = path.stat().st_mtime
                if path.name.startswith(PARTIAL):
                    if now - used > ABANDONED_SECONDS:
                        shutil.rmtree(path, ignore_errors=True)
                elif _is_entry(path) and path != keep:
                    entries.append((used, sum(file.stat().st_size for file in path.iterdir()), path))
            except FileNotFoundError:
                continue  # another process removed it
        total, count = needed_bytes + sum(size for _, size, _ in entries), len(entries) + 1
        for used, size, path in sorted(entries):
            if (total <= self._largest_bytes and count <= self._most_entries) or now - used < YOUNG_SECONDS:
                break
            _LOG.info(
                "removing %s from the cache of converted models: not used for %d days", path, (now - used) // 86400
            )
            _remove(path)
            total, count = total - size, count - 1


def _is_entry(path: Path) -> bool:
    """Return whether a path looks like an entry of this cache; nothing else is ever removed."""
    return path.is_dir() and len(path.name) == 40 and set(path.name) <= set("0123456789abcdef")


def _remove(path: Path) -> None:
    """Remove an entry; rename it first, so that no process finds half of it."""
    doomed = Path(mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        path.rename(doomed / path.name)
    except FileNotFoundError:
        pass  # another process removed it
    finally:
        shutil.rmtree(doomed, ignore_errors=True)


def _flush(directory: Path) -> None:
    """Flush the files to disk before the directory gets its name, so that a power cut leaves no incomplete entry."""
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
