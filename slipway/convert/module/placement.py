"""Put finished files in place: first copy all of them to the file systems of their targets, then rename.

Nothing existing changes before the first rename, and a failure until then leaves no trace. Files are copied, not
moved, because a file may have several targets on several file systems.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class _Move:
    """A rename that is still to be done."""

    prepared: Path
    target: Path


@contextmanager
def scratch_near(target: Path) -> Iterator[Path]:
    """Yield a scratch directory on the file system of `target`; raise INVALID_ARG if it cannot be created."""
    parent = _missing(target).parent
    with ExitStack() as stack:
        try:
            scratch = _temporary(stack, parent)
        except OSError as error:
            raise invalid(
                f"cannot write to '{parent}': {error.strerror}; choose another location for '{target}'"
            ) from error
        yield scratch


def place(files: Mapping[Path, Path]) -> None:
    """Copy each source to its target, given as target -> source; raise INVALID_ARG if one cannot be written."""
    groups: dict[Path, list[Path]] = {}
    for target in files:
        groups.setdefault(_missing(target), []).append(target)
    try:
        with ExitStack() as stack:
            moves = [_prepare(stack, root, targets, files) for root, targets in groups.items()]
            for move in moves:
                move.prepared.replace(move.target)
    except OSError as error:
        where = error.filename2 or error.filename or next(iter(files))
        reason = error.strerror or error
        raise invalid(f"cannot write '{where}': {reason}; existing files are unchanged") from error


def _missing(target: Path) -> Path:
    """Return the outermost parent of `target` that does not exist, or `target` itself."""
    target = target.absolute()
    for path in reversed(target.parents):
        if not path.exists():
            return path
    return target


def _prepare(stack: ExitStack, root: Path, targets: Sequence[Path], files: Mapping[Path, Path]) -> _Move:
    """Copy the files that belong below `root` to a directory next to it, so that one rename puts them in place."""
    staging = _temporary(stack, root.parent)
    for target in targets:
        copy = staging / target.absolute().relative_to(root.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[target], copy)
    return _Move(staging / root.name, root)


def _temporary(stack: ExitStack, directory: Path) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".slipway-", dir=directory)))
