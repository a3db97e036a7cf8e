"""The conversions that `slipway serve` keeps: one directory each, complete or converted again, in use or removable.

A directory contains `models`, a model repository, and `entry.json`, which is written last: without it, the rest is what
an interrupted conversion left. The file `lock` says who uses it: one process alone while it converts, any number of
servers afterwards. The locks end with their processes. Knows nothing about conversions.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import msgspec

from slipway.cli.sources.request import ConversionRequest
from slipway.errors import SlipwayError, unavailable
from slipway.repository.private import make_private

LARGEST_BYTES: Final = 20 << 30
MOST_ENTRIES: Final = 64
DIGESTS: Final = "digests.json"
_MODELS: Final = "models"
_RECORD: Final = "entry.json"
_LOCK: Final = "lock"
_DOOMED: Final = ".removed-"
_PAUSE_S: Final = 0.05

_LOG: Final = logging.getLogger("slipway.cli")


class EntryRecord(msgspec.Struct, frozen=True):
    """What is in an entry: of which source and content, its models, the size of each file, and the report's choice."""

    source: str
    content: str
    request: ConversionRequest
    models: tuple[str, ...]
    files: dict[str, int]
    chosen: str
    lost: tuple[str, ...]  # what the choice costs in accuracy, as sentences


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where conversions are kept: `converted` in $SLIPWAY_CACHE_DIR, or in slipway in the user's XDG cache."""
    named = environment.get("SLIPWAY_CACHE_DIR")
    root = Path(named) if named else Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"
    return root / "converted"


class HeldEntry:
    """An entry that cannot be removed until `release`. Without a `record` it is empty, and this process alone has it:
    `finish` or `discard` it."""

    def __init__(self, directory: Path, lock: int, record: EntryRecord | None) -> None:
        self.directory = directory
        self.models = directory / _MODELS
        self.record = record
        self._lock = lock

    def finish(self, record: EntryRecord) -> None:
        """Write the record, after everything else is on the disk, and let other servers use the entry."""
        for name in record.files:
            with (self.models / name).open("rb") as file:
                os.fsync(file.fileno())
        new = self.directory / f"{_RECORD}.new"
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(record)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.directory / _RECORD)
        self.record = record
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def discard(self) -> None:
        """Remove the entry, and let others convert."""
        try:
            _remove(self.directory)
        finally:
            self.release()

    def release(self) -> None:
        """Let the entry be removed, as far as this process is concerned."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class ConvertedCache:
    """The directory of all entries."""

    def __init__(self, root: Path, *, largest_bytes: int = LARGEST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
        self.root = root
        self._largest_bytes = largest_bytes
        self._most_entries = most_entries

    def open(self) -> None:
        """Make the directory; raise UNAVAILABLE if that fails, or if other users could write to it."""
        try:
            make_private(self.root)
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> SlipwayError:
        """Return the error for a directory that cannot be written to."""
        return unavailable(
            f"cannot keep a converted model in '{self.root}': {error.strerror or error}; SLIPWAY_CACHE_DIR names "
            "another directory"
        )

    def hold(self, name: str, wait: Callable[[], None] = lambda: None) -> HeldEntry:
        """Return an entry, complete or empty. Call `wait`, then wait, while another process converts it.

        Raise UNAVAILABLE if the entry is damaged while another server uses it, or if it cannot be written.
        """
        try:
            return self._hold(self.root / name, wait)
        except OSError as error:
            raise self.unwritable(error) from error

    def _hold(self, directory: Path, wait: Callable[[], None]) -> HeldEntry:
        while True:
            make_private(directory)
            try:
                lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:  # another process has just removed the directory
                continue
            try:
                held = self._held(directory, lock, wait)
            except BaseException:
                os.close(lock)
                raise
            if held is not None:
                return held
            os.close(lock)
            time.sleep(_PAUSE_S)

    def _held(self, directory: Path, lock: int, wait: Callable[[], None]) -> HeldEntry | None:
        """Return the entry, or None if it has to be tried again: it was removed, or the other conversion failed."""
        alone = _lock(lock, wait)
        record = read_record(directory)
        if record is not None and not _is_intact(directory / _MODELS, record):
            if not alone:
                raise unavailable(f"'{directory}' is damaged, and another server uses it: stop that one first")
            _LOG.warning("'%s' is damaged: converting again", directory)
            record = None
        if alone and _is_at(lock, directory / _LOCK):
            if record is None:
                _empty(directory)
                return HeldEntry(directory, lock, None)
            fcntl.flock(lock, fcntl.LOCK_SH)
        if record is None or not _is_at(lock, directory / _LOCK):
            return None
        os.utime(directory / _LOCK)  # the time of the last use
        return HeldEntry(directory, lock, record)

    def find(self, request: ConversionRequest) -> EntryRecord | None:
        """Return the last used entry for a request, whatever the content, None if there is none."""
        rows = sorted(self._entries(), key=lambda each: each[0])
        found = [record for _, _, record in rows if record is not None and record.request == request]
        return found[-1] if found else None

    def trim(self) -> None:
        """Remove what interrupted conversions left and, while entries are too many or too large together, the one that
        was not used for the longest time; never one in use."""
        for path in self.root.glob(f"{_DOOMED}*"):
            shutil.rmtree(path, ignore_errors=True)
        rows = sorted(self._entries(), key=lambda each: each[0])
        total = sum(sum(record.files.values()) for _, _, record in rows if record is not None)
        count = len(rows)
        for _, directory, record in rows:
            if record is not None and total <= self._largest_bytes and count <= self._most_entries:
                continue
            if _remove_unused(directory):
                _LOG.info("removed the conversion '%s', which was not used for the longest time", directory)
                total -= sum(record.files.values()) if record is not None else 0
                count -= 1

    def _entries(self) -> Iterator[tuple[float, Path, EntryRecord | None]]:
        """Yield the time of the last use, the directory and the record of each entry."""
        for directory in self.root.iterdir():
            with suppress(OSError):  # another process removed it, or it is not an entry
                if not directory.name.startswith("."):
                    yield (directory / _LOCK).stat().st_mtime, directory, read_record(directory)


def read_record(directory: Path) -> EntryRecord | None:
    """Return the record of an entry, None if it is not complete."""
    try:
        return msgspec.json.decode((directory / _RECORD).read_bytes(), type=EntryRecord)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def file_sizes(directory: Path) -> dict[str, int]:
    """Return the size of each file in a directory, by its path in it."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.stat().st_size for path in files}


def _lock(lock: int, wait: Callable[[], None]) -> bool:
    """Take the lock; return whether this process alone has it."""
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return kind == fcntl.LOCK_EX
    wait()
    fcntl.flock(lock, fcntl.LOCK_SH)
    return False


def _is_at(lock: int, path: Path) -> bool:
    """Return whether the file that was locked is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _is_intact(models: Path, record: EntryRecord) -> bool:
    try:
        return all((models / name).stat().st_size == size for name, size in record.files.items())
    except OSError:
        return False


def _empty(directory: Path) -> None:
    """Remove everything but the lock."""
    for path in directory.iterdir():
        if path.name == _LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_unused(directory: Path) -> bool:
    """Remove an entry that no process uses; return whether it was removed."""
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(directory)
    except OSError:  # BlockingIOError: in use
        return False
    finally:
        os.close(lock)
    return True


def _remove(directory: Path) -> None:
    """Remove an entry; rename it first, so that nobody finds half of it. On a full disk, only its record goes first."""
    try:
        doomed = Path(mkdtemp(prefix=_DOOMED, dir=directory.parent))
    except OSError:
        (directory / _RECORD).unlink(missing_ok=True)
        shutil.rmtree(directory)
        return
    try:
        directory.rename(doomed / directory.name)
    finally:
        shutil.rmtree(doomed, ignore_errors=True)
