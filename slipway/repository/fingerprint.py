"""Fingerprints of model directories: modification times and sizes, enough to detect a change.

Taking the fingerprint of a directory that is being written is not an error: files that vanish meanwhile are left out,
and the next fingerprint differs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway.problems import Problem, Rule
from slipway.repository.scan import scan_versions

Stamp = tuple[tuple[str, int, int], ...]  # (relative path, mtime_ns, size), sorted
_ENDLESS = -1  # as size: a FIFO or a device, where reading may never end

# Written when a model runs, not when it changes.
BY_PRODUCTS = frozenset({"__pycache__", ".ipynb_checkpoints"})


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The state of a model's directory: each version, and everything that the versions share."""

    shared: Stamp  # config.pbtxt, labels, warmup, ...
    versions: dict[int, Stamp]

    def endless_files(self) -> list[str]:
        """Return the FIFOs and devices, as paths inside the model's directory; opening one may never return."""
        stamps = [("", self.shared), *((f"{number}/", stamp) for number, stamp in self.versions.items())]
        return [f"{prefix}{path}" for prefix, stamp in stamps for path, _, size in stamp if size == _ENDLESS]


def fingerprint(model_directory: Path) -> Fingerprint:
    """Return the current fingerprint of a model's directory."""
    versions = scan_versions(model_directory).paths
    folders = {path.name for path in versions.values()}
    return Fingerprint(
        shared=tuple(sorted(_walk(os.fspath(model_directory), "", skip=folders, seen=set()))),
        versions={
            number: tuple(sorted(_walk(os.fspath(path), "", skip=set(), seen=set())))
            for number, path in versions.items()
        },
    )


def endless_file_problem(look: Fingerprint) -> Problem | None:
    """Return the problem of a directory with a FIFO or a device in it, None if there is none."""
    names = look.endless_files()
    if not names:
        return None
    text = f"'{names[0]}' is not a regular file: reading it may never end"
    return Problem(Rule.FILE_ENDLESS, text, fix="move it out of the model's directory")


def _walk(directory: str, prefix: str, *, skip: set[str], seen: set[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    try:
        status = os.stat(directory)  # noqa: PTH116  a Path per file doubles the time of a poll
        if (status.st_dev, status.st_ino) in seen:  # a symbolic link to a parent directory
            return
        seen.add((status.st_dev, status.st_ino))
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name in BY_PRODUCTS or entry.name in skip:
            continue
        try:
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", skip=set(), seen=seen)
            else:
                file = entry.stat()
                endless = stat.S_ISFIFO(file.st_mode) or stat.S_ISCHR(file.st_mode) or stat.S_ISBLK(file.st_mode)
                yield f"{prefix}{entry.name}", file.st_mtime_ns, _ENDLESS if endless else file.st_size
        except OSError:
            continue
