"""The local copy of a remote repository: which models it has, and how one is brought up to date.

Only files that changed are fetched. They are written and checked outside the copy, and moved into it when all of a
model's files are there, so that a model is never half new because a transfer failed. A copied file has the modification
time that `RemoteObject` derives from its tag, by which a later process recognises it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock

from slipway.config.remote_location import RemoteLocation
from slipway.errors import unavailable
from slipway.repository.fingerprint import BY_PRODUCTS
from slipway.repository.remote.listing import Listing, RemoteModel, RemoteObject, group
from slipway.repository.remote.local_copy import LocalCopy
from slipway.repository.remote.storage import Storage
from slipway.repository.scan import CONFIG_FILE


class Mirror:
    """The models of one location. The methods block, and may be called from several threads for different models."""

    def __init__(self, location: RemoteLocation, storage: Storage, copy: LocalCopy) -> None:
        self.location = location
        self.listing = Listing()
        self.listed = False  # at least once
        self._storage = storage
        self._copy = copy
        self._locks: dict[str, Lock] = {}  # by model
        self._changing = Lock()
        self._placed: dict[str, RemoteModel] = {}  # what this process put into the copy

    def refresh(self) -> None:
        """List the repository; raise UNAVAILABLE if that fails or if there is nothing, which more often is a mistake in
        the path than the wish to unload everything."""
        objects = self._storage.objects()
        if not objects:
            raise unavailable(f"there is nothing at {self.location.text}")
        listing = group(objects, self.location.name)
        self._remove_all_but(listing.models)
        self.listing = listing
        self.listed = True

    def refresh_model(self, name: str) -> None:
        """List one model again; raise UNAVAILABLE if that fails."""
        if self._is_one_model():
            self.refresh()
            return
        found = {} if "/" in name else dict(group(self._storage.objects(name), "").models)
        with self._changing:
            models = {other: model for other, model in self.listing.models.items() if other != name}
            self.listing = Listing(models | found, self.listing.strays)

    def _is_one_model(self) -> bool:
        own = self.listing.models.get(self.location.name)
        return own is not None and CONFIG_FILE in own.files and own.files[CONFIG_FILE].path == CONFIG_FILE

    def directory(self, name: str) -> Path:
        """Return where a model's copy is or will be."""
        return self._copy.models / name

    def copy_model(self, name: str) -> Path:
        """Make the copy of a model what the listing says, and return it; raise UNAVAILABLE, with the earlier copy
        unchanged, if that fails."""
        with self._changing:
            lock = self._locks.setdefault(name, Lock())
        with lock:
            return self._copy_model(name, self.listing.models.get(name, RemoteModel({}, frozenset(), "it is gone")))

    def _copy_model(self, name: str, model: RemoteModel) -> Path:
        if model.fault:
            raise unavailable(model.fault)
        target = self.directory(name)
        placed = self._placed.get(name)
        changed = {path: each for path, each in model.files.items() if not _is_current(target, path, each, placed)}
        try:
            incoming = self._fetch(changed)
            try:
                _remove_extra(target, model, placed)
                _place(target, model, changed, incoming)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        except OSError as error:
            raise unavailable(f"the copy of '{name}' cannot be written: {error.strerror or error}") from error
        self._placed[name] = model
        return target

    def cancel(self) -> None:
        """End the transfers under way."""
        self._storage.cancel()

    def close(self) -> None:
        """Close the connections, and let other servers use the copy."""
        self._storage.close()
        self._copy.close()

    def _fetch(self, changed: Mapping[str, RemoteObject]) -> Path:
        """Return a new directory with the checked files, which are called by their position in `changed`."""
        needed, free = sum(each.size for each in changed.values()), shutil.disk_usage(self._copy.incoming).free
        if needed > free:
            raise unavailable(f"{needed >> 20} MiB are to be copied, but only {free >> 20} MiB are free in the cache")
        incoming = Path(mkdtemp(dir=self._copy.incoming))
        wanted = [(each, incoming / str(number)) for number, each in enumerate(changed.values())]
        try:
            if wanted:
                self._storage.fetch(wanted)
            for each, file in wanted:
                _settle(file, each)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        return incoming

    def _remove_all_but(self, names: Mapping[str, RemoteModel]) -> None:
        """Remove the copies of models that are gone; a running one keeps the files that it has open."""
        for path in self._copy.models.iterdir():
            if path.name not in names:
                self._placed.pop(path.name, None)
                self._locks.pop(path.name, None)
                shutil.rmtree(path, ignore_errors=True)


def _is_current(target: Path, path: str, each: RemoteObject, placed: RemoteModel | None) -> bool:
    """Return whether a model's local file is the copy of an object."""
    try:
        state = (target / path).lstat()
    except OSError:
        return False
    if not stat.S_ISREG(state.st_mode) or state.st_size != each.size:
        return False
    # A file system that keeps whole seconds forgets the rest: then this process knows.
    return state.st_mtime_ns == each.mtime_ns or (placed is not None and placed.files.get(path) == each)


def _settle(file: Path, each: RemoteObject) -> None:
    """Give a fetched file its time, and wait until the disk has it."""
    os.utime(file, ns=(each.mtime_ns, each.mtime_ns))
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _remove_extra(target: Path, model: RemoteModel, placed: RemoteModel | None) -> None:
    """Remove what the model no longer has. What the running model itself has written is left alone."""
    for folder, folders, files in os.walk(target):
        inside = Path(folder).relative_to(target)
        for name in list(folders):
            path = inside / name
            is_link = (target / path).is_symlink()
            if not is_link and (path.as_posix() in model.directories or name in BY_PRODUCTS):
                continue
            if placed is None or path.as_posix() in placed.directories:
                folders.remove(name)
                _remove(target / path)
        for name in files:
            path = inside / name
            known = placed is None or path.as_posix() in placed.files
            if path.as_posix() not in model.files and known and inside.name not in BY_PRODUCTS:
                (target / path).unlink()


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _place(target: Path, model: RemoteModel, changed: Mapping[str, RemoteObject], incoming: Path) -> None:
    target.mkdir(exist_ok=True)
    for directory in sorted(model.directories):
        (target / directory).mkdir(exist_ok=True)
    for number, path in enumerate(changed):
        (incoming / str(number)).replace(target / path)
