"""A temporary directory next to the target that replaces it at the end: the whole checkpoint is written, or nothing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.checkpoints.fastertransformer.array_files import SUFFIX
from slipway.checkpoints.fastertransformer.config_ini import CONFIG
from slipway.errors import SlipwayError, invalid


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `target` when the block ends without an error.

    An earlier checkpoint at `target` is replaced. Raises INVALID_ARG if anything else is there or the disk is full;
    then nothing has changed.
    """
    _check_replaceable(target)
    missing = [path for path in target.parents if not path.exists()]
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".slipway-", dir=target.parent))
        new = staging / "new"
        new.mkdir()
        yield new
        _replace(target, new, staging / "old")
    except BaseException as error:  # also after an interruption nothing is left behind
        if staging is not None:
            shutil.rmtree(staging)
        with contextlib.suppress(OSError):  # something else was put there meanwhile
            for directory in missing:
                if directory.exists():
                    directory.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(target, error) from error
        raise
    shutil.rmtree(staging)


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise invalid(f"cannot write '{target}': it is a file")
    others = sorted(path.name for path in target.iterdir() if path.name != CONFIG and path.suffix != SUFFIX)
    if others:
        raise invalid(f"'{target}' contains more than a checkpoint ({', '.join(others[:3])}), so it is not replaced")


def _replace(target: Path, new: Path, old: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


def _cannot_write(target: Path, error: OSError) -> SlipwayError:
    return invalid(f"cannot write the checkpoint '{target}': {error.strerror or error}")
