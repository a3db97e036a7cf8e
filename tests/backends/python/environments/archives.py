"""Tar archives with any members, and archives of real environments."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile


def member(name, kind=tarfile.REGTYPE, *, link="", content=b"", mode=0o644):
    """Return a member and its content."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.size = len(content)
    info.mode = mode
    return info, content


def write_archive(path, *members):
    """Write a .tar.gz of `member`s."""
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def make_environment(directory, **modules):
    """Create a venv of this Python with `modules` (name -> source) and without a single package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    [packages] = directory.glob("lib/python*/site-packages")
    for name, source in modules.items():
        (packages / f"{name}.py").write_text(source)
    return directory


def pack(directory, path):
    """Write an archive whose members are relative to the environment, as conda-pack and venv-pack do."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(directory, arcname=".")
    return path
