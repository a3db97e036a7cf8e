"""Small shell scripts that run Slipway's commands under their own names, such as `t2t-trainer`.

Each runs the interpreter that wrote it, so it works whatever is on PATH. A line in the script marks it as written here;
a file without that line is never overwritten or removed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from slipway.errors import invalid

_MARK: Final = "# Written by 'slipway install-aliases', which may replace or remove this file."
_EXECUTABLE: Final = 0o755
_MARKED_WITHIN: Final = 512  # bytes at the beginning of a file


def install(directory: Path, names: Iterable[str]) -> list[Path]:
    """Write a launcher for each command and return their paths; raise INVALID_ARG, before any file is written, if
    another file has one of the names."""
    paths = [directory / name for name in names]
    _refuse_foreign(paths)
    directory.mkdir(parents=True, exist_ok=True)
    for path in paths:
        _write(path, _script(path.name))
    return paths


def remove(directory: Path, names: Iterable[str]) -> list[Path]:
    """Remove the launchers of these commands and return the paths that existed; raise INVALID_ARG, before any file is
    removed, if another file has one of the names."""
    paths = [path for path in (directory / name for name in names) if os.path.lexists(path)]
    _refuse_foreign(paths)
    for path in paths:
        path.unlink()
    return paths


def _script(name: str) -> str:
    command = shlex.join([sys.executable, "-m", "slipway", name])
    return f'#!/bin/sh\n{_MARK}\nexec {command} "$@"\n'


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole: a script that is running may be read on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(_EXECUTABLE)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign(paths: Sequence[Path]) -> None:
    foreign = [path for path in paths if os.path.lexists(path) and not _is_ours(path)]
    if foreign:
        names = ", ".join(f"'{path}'" for path in foreign)
        raise invalid(f"{names} was not written by 'slipway install-aliases': remove it, or choose another directory")


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_MARKED_WITHIN)
