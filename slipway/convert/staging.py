"""A staging directory next to the repository, from which either all models are moved in at the end or none.

Existing models survive any failure. Treats models as names only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from slipway.errors import SlipwayError, invalid


class Stager(Protocol):
    """What `staged` does, perhaps for another process."""

    def __call__(
        self, repository: Path, names: Sequence[str], *, overwrite: bool
    ) -> AbstractContextManager[tuple[Path, Path]]:
        """Return a directory whose models take the place of `names` in the end, and a work directory."""


@contextmanager
def staged(repository: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Yield a directory whose models move into `repository` if the block ends without an error, and a work directory.

    `names` are all models that the block may write. Those that it did not write are removed from the repository,
    because they do not match the new ones.
    """
    taken = [each for each in names if (repository / each).exists()]
    if taken and not overwrite:
        raise invalid(f"'{repository / taken[0]}' already exists; --overwrite replaces it")
    created, staging = _make_directories(repository)
    try:
        yield staging / "new", staging / "work"
        _replace(repository, staging, names)
    except BaseException as error:
        shutil.rmtree(staging)
        with contextlib.suppress(OSError):  # another process has put something there: leave it
            for directory in created:
                directory.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(repository, error) from error
        raise
    shutil.rmtree(staging)


def _make_directories(repository: Path) -> tuple[list[Path], Path]:
    """Return the directories that had to be created, innermost first, and the staging directory.

    Staging is next to the repository, because a server may be watching the repository itself. It is inside if the
    repository is a file system of its own or its parent is not writable.
    """
    missing = [path for path in (repository, *repository.parents) if not path.exists()]
    try:
        repository.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".slipway-", dir=_place(repository)))
        (staging / "new").mkdir()
        (staging / "work").mkdir()
    except OSError as error:
        raise _cannot_write(repository, error) from error
    return missing, staging


def _place(repository: Path) -> Path:
    inside = repository.resolve()
    beside = inside.parent
    renames = inside.stat().st_dev == beside.stat().st_dev
    return beside if renames and os.access(beside, os.W_OK) else inside


def _replace(repository: Path, staging: Path, names: Sequence[str]) -> None:
    """Move the old models out and the new ones in; restore everything if that fails."""
    old = staging / "old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for start, end in ((repository / name, old / name), (staging / "new" / name, repository / name)):
                if start.exists():
                    moved.append((start, end))
                    start.rename(end)
    except BaseException:  # including an interrupt between any two lines
        for start, end in reversed(moved):
            if end.exists() and not start.exists():
                end.rename(start)
        raise


def _cannot_write(repository: Path, error: OSError) -> SlipwayError:
    return invalid(f"cannot write to the repository '{repository}': {error.strerror}")
