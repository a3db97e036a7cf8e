"""Directories of caches that the server runs files from, so that nobody else may be able to fill them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from slipway.errors import unavailable


def make_private(directory: Path) -> None:
    """Make a directory with its parents; raise UNAVAILABLE if there is one that other users could have filled, and
    OSError if it cannot be made."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = directory.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise unavailable(f"'{directory}' must be a directory of this user alone, because models are loaded from it")
