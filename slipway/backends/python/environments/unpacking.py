"""Unpack an archive of a Python environment (conda-pack, venv-pack) into a directory, and write nowhere else.

Links may lead anywhere, as `bin/python` of a venv does, but nothing is written through one. Devices and FIFOs are
refused, and the bits setuid, setgid and sticky are dropped.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

MOST_MEMBERS: Final = 1_000_000
MOST_BYTES: Final = 64 << 30
_FREE_SHARE: Final = 0.95  # of the free disk space, which an archive may fill


class UnsafeArchiveError(Exception):
    """The archive is damaged, or asks for something that unpacking does not do; the text says what."""


def unpack(archive: Path, directory: Path, *, most_members: int = MOST_MEMBERS, most_bytes: int = MOST_BYTES) -> None:
    """Unpack `archive` into the empty `directory`. Raise `UnsafeArchiveError`, or OSError if the disk refuses."""
    room = min(most_bytes, int(shutil.disk_usage(directory).free * _FREE_SHARE))
    try:
        with tarfile.open(archive, "r:*") as opened:
            for count, member in enumerate(opened, 1):
                room -= member.size
                if count > most_members:
                    raise UnsafeArchiveError(f"it has more than {most_members} members")
                if room < 0:
                    raise UnsafeArchiveError("what it contains is too large for the disk, or for any environment")
                _unpack_member(opened, member, directory)
    except (tarfile.TarError, EOFError, ValueError) as error:  # ValueError: a damaged number in a header
        raise UnsafeArchiveError(f"it cannot be read as a tar archive: {error}") from error
    except OSError as error:
        if error.errno is None:  # gzip, bz2 and lzma say so when their data are damaged
            raise UnsafeArchiveError(f"it cannot be read as a tar archive: {error}") from error
        raise


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    path = directory.joinpath(*_parts(member.name))
    if member.isdir():
        _make_parents(path, directory)
        return
    if path == directory:
        raise UnsafeArchiveError(f"member '{member.name}' is not a directory")
    _make_parents(path.parent, directory)
    path.unlink(missing_ok=True)  # the last member of a name counts; a link is replaced, not followed
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        path.hardlink_to(_linked(member, directory))
    elif member.isreg():
        content = archive.extractfile(member)
        if content is None:
            raise UnsafeArchiveError(f"member '{member.name}' has no content")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o600)) as file:
            shutil.copyfileobj(content, file)
        path.chmod((member.mode & 0o777) | 0o600)
    else:
        raise UnsafeArchiveError(f"member '{member.name}' is a device or a FIFO")


def _linked(member: tarfile.TarInfo, directory: Path) -> Path:
    """Return the file that a hard link names; it must already be unpacked, and be a file of its own."""
    target = directory.joinpath(*_parts(member.linkname))
    if any(part.is_symlink() for part in _ancestors(target, directory)) or not target.is_file():
        raise UnsafeArchiveError(f"member '{member.name}' links to '{member.linkname}', which is not a file in it")
    return target


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a member's name; raise `UnsafeArchiveError` if it leads out of the directory."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UnsafeArchiveError(f"member '{name}' would be outside of the environment")
    return path.parts


def _make_parents(path: Path, directory: Path) -> None:
    for part in _ancestors(path, directory):
        if part.is_symlink():
            raise UnsafeArchiveError(f"a member would be written through the link '{part.relative_to(directory)}'")
        part.mkdir(mode=0o700, exist_ok=True)


def _ancestors(path: Path, directory: Path) -> Iterator[Path]:
    """Yield the paths from below `directory` down to `path`."""
    current = directory
    for part in path.relative_to(directory).parts:
        current /= part
        yield current
