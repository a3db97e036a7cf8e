"""Unpacked environments on disk: one directory per archive content, unpacked once and shared by servers.

An entry is unpacked under another name and then renamed, so an entry is whole or is not there. The lock file of the
store is held while an entry is looked up, unpacked or removed; an entry in use is locked by its users (flock on its
directory), and the least recently used ones without a user are removed when another is unpacked.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from slipway.backends.python.environments.unpacking import unpack
from slipway.repository.private import make_private

UNUSED_KEPT: Final = 4
_LAYOUT: Final = "1"  # increased when the same archive is unpacked differently
_PARTIAL: Final = ".partial-"
_NAME_LENGTH: Final = 40

_LOG: Final = logging.getLogger("slipway.python")


def default_directory() -> Path:
    """Return environments/ in $SLIPWAY_CACHE_DIR, or slipway/environments in the user's XDG cache."""
    named = os.environ.get("SLIPWAY_CACHE_DIR")
    if named:
        return Path(named) / "environments"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway" / "environments"


class UnpackedEnvironment:
    """An entry, which stays on disk until `release`."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the entry be removed one day."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class EnvironmentStore:
    """A directory of entries."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def unpacked(self, archive: Path) -> UnpackedEnvironment:
        """Return the environment in `archive`, unpacked if it is not yet. Raise `UnsafeArchiveError`, OSError, or
        UNAVAILABLE if other users could have filled the store."""
        name = _digest(archive)
        make_private(self.directory)
        path = self.directory / name
        with self._locked():
            if not path.is_dir():
                self._unpack(archive, path)
                self._trim(keep=path)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.utime(path)
        return UnpackedEnvironment(path, descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unpack(self, archive: Path, path: Path) -> None:
        for abandoned in self.directory.glob(f"{_PARTIAL}*"):  # only a process that died leaves one: the lock is held
            shutil.rmtree(abandoned, ignore_errors=True)
        partial = Path(mkdtemp(prefix=_PARTIAL, dir=self.directory))
        begin = time.monotonic()
        try:
            unpack(archive, partial)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # no longer there if it was renamed
        _LOG.info("unpacked the environment %s to %s in %.1f s", archive, path, time.monotonic() - begin)

    def _trim(self, *, keep: Path) -> None:
        """Remove the least recently used entries without a user, except the last `UNUSED_KEPT`."""
        others = [path for path in self.directory.iterdir() if path != keep and _is_entry(path)]
        unused = sorted((path.stat().st_mtime, path) for path in others if not _in_use(path))
        for _, path in unused[:-UNUSED_KEPT]:
            _LOG.info("removing the environment %s, which was not used recently", path)
            shutil.rmtree(path, ignore_errors=True)


def _is_entry(path: Path) -> bool:
    """Return whether a path looks like an entry; nothing else is ever removed."""
    return path.is_dir() and len(path.name) == _NAME_LENGTH and set(path.name) <= set("0123456789abcdef")


def _in_use(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256")
    whole.update(_LAYOUT.encode())
    return whole.hexdigest()[:_NAME_LENGTH]
