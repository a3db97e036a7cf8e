"""Where the local copy of a remote repository is, and who may use it.

Every location has a directory of its own in a cache, with one numbered copy for each server that uses it at the same
time: a lock that ends with the process says which are taken. The next server finds the files of the last one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from slipway.config.remote_location import AZURE, GOOGLE, S3, RemoteLocation
from slipway.errors import unavailable
from slipway.repository.private import make_private

_MOST: Final = 64  # servers on one machine with one repository
_LOCK: Final = "lock"
MODELS: Final = "models"
INCOMING: Final = "incoming"
# Triton's variables for the directory that models are copied to.
_VARIABLES: Final = {
    S3: "TRITON_AWS_MOUNT_DIRECTORY",
    GOOGLE: "TRITON_GCS_MOUNT_DIRECTORY",
    AZURE: "TRITON_AZURE_MOUNT_DIRECTORY",
}


def cache_directory(scheme: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where copies are kept: the directory in Triton's variable for the provider, or slipway/repositories in the
    user's XDG cache."""
    named = environment.get(_VARIABLES.get(scheme, ""), "")
    if named:
        return Path(named)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway" / "repositories"


class LocalCopy:
    """A directory that this process alone uses until `close`: `models` has what is complete, `incoming` the rest."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.models = directory / MODELS
        self.incoming = directory / INCOMING
        self._lock = lock

    def close(self) -> None:
        """Let other servers use it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def take_copy(location: RemoteLocation, cache: Path) -> LocalCopy:
    """Return the first copy of a location that no other server uses; raise UNAVAILABLE if there can be none."""
    home = cache / sha256(location.text.encode()).hexdigest()[:32]
    try:
        make_private(home)
        for number in range(_MOST):
            directory = home / str(number)
            make_private(directory)
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            copy = LocalCopy(directory, lock)
            try:
                make_private(copy.models)
                shutil.rmtree(copy.incoming, ignore_errors=True)  # of a server that was killed
                make_private(copy.incoming)
            except BaseException:
                copy.close()
                raise
            return copy
    except OSError as error:
        raise unavailable(f"'{home}' cannot hold a copy of {location.text}: {error.strerror or error}") from error
    raise unavailable(f"{_MOST} servers use {location.text} on this machine already")
