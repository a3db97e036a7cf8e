"""A temporary directory beside the repository whose models are moved in at the end, all or none.

What was there before survives any failure. Knows models by their names only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slipway.errors import SlipwayError, invalid


@contextmanager
def staged(repository: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Yield a directory whose models move into `repository` when the block ends without an error, and one for work.

    `names` are all models that the block may write; those in the repository that it did not write are removed, as
    they would not fit the new ones.
    """
    taken = [each for each in names if (repository / each).exists()]
    if taken and not overwrite:
        raise invalid(f"'{repository / taken[0]}' exists already; --overwrite replaces it")
    created, staging = _make_directories(repository)
    try:
        yield staging / "new", staging / "work"
        _replace(repository, staging, names)
    except BaseException as error:
        if created:
            repository.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(repository, error) from error
        raise
    finally:
        shutil.rmtree(staging)


def _make_directories(repository: Path) -> tuple[bool, Path]:
    """Return whether the repository is new, and a directory beside it: a server may be watching the inside."""
    existed = repository.is_dir()
    try:
        repository.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".slipway-", dir=repository.resolve().parent))
        (staging / "new").mkdir()
        (staging / "work").mkdir()
    except OSError as error:
        raise _cannot_write(repository, error) from error
    return not existed, staging


def _replace(repository: Path, staging: Path, names: Sequence[str]) -> None:
    """Move the new models in and the old ones out; on a failure put everything back as it was."""
    old = staging / "old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for start, end in ((repository / name, old / name), (staging / "new" / name, repository / name)):
                if start.exists():
                    start.rename(end)
                    moved.append((start, end))
    except OSError as error:
        for start, end in reversed(moved):
            end.rename(start)
        raise _cannot_write(repository, error) from error


def _cannot_write(repository: Path, error: OSError) -> SlipwayError:
    return invalid(f"cannot write to the repository '{repository}': {error.strerror}")
