"""Finds the checkpoint that a path means: an output directory, the prefix of a checkpoint, or one of its files.

`checkpoint` is TensorFlow's text pointer to the newest checkpoint of a directory. Only the last part of its path is
used, because directories are moved. Knows names, not contents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.errors import invalid, not_found, shown

POINTER: Final = "checkpoint"
BUNDLE_SUFFIX: Final = ".index"
OWN_SUFFIX: Final = ".safetensors"
STATE_SUFFIX: Final = ".state.pt"  # of training: the optimiser, beside our own weights
_POINTED: Final = re.compile(r'^model_checkpoint_path:\s*"([^"]+)"\s*$', re.MULTILINE)
_STEP: Final = re.compile(r"-(\d{1,18})$")
_FILE: Final = re.compile(r"(.+?)(\.index|\.meta|\.data-\d{5}-of-\d{5}|\.safetensors|\.state\.pt)")
_MAX_POINTER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint on disk: the path that all its files begin with, and whether it is ours instead of TensorFlow's."""

    prefix: Path
    own: bool

    @property
    def step(self) -> int:
        """The training step in the name, 0 if there is none."""
        match = _STEP.search(self.prefix.name)
        return int(match[1]) if match else 0

    @property
    def weights(self) -> Path:
        """The file that the arrays are found through."""
        return self.prefix.with_name(self.prefix.name + (OWN_SUFFIX if self.own else BUNDLE_SUFFIX))


def find_checkpoint(path: Path) -> CheckpointFiles:
    """Return the checkpoint of a directory (the one that its pointer names), prefix or file.

    Raise NOT_FOUND if there is none, INVALID_ARG if the pointer cannot be read.
    """
    if path.is_dir():
        return _at(path / _pointed(path), f"'{path / POINTER}' names")
    match = _FILE.fullmatch(path.name)
    return _at(path.with_name(match[1]) if match else path, "there is no checkpoint")


def list_checkpoints(directory: Path) -> list[CheckpointFiles]:
    """Return the checkpoints of a directory by ascending step; raise NOT_FOUND if it does not exist."""
    if not directory.is_dir():
        raise not_found(f"'{directory}' is not a directory")
    found = [
        CheckpointFiles(file.with_name(file.name.removesuffix(suffix)), own=suffix == OWN_SUFFIX)
        for suffix in (BUNDLE_SUFFIX, OWN_SUFFIX)
        for file in directory.glob(f"*.ckpt-*{suffix}")
    ]
    return sorted(found, key=lambda each: (each.step, each.own))


def _at(prefix: Path, what: str) -> CheckpointFiles:
    for own in (True, False):
        files = CheckpointFiles(prefix, own)
        if _is_file(files.weights):
            return files
    names = " nor ".join(f"'{prefix.name}{suffix}'" for suffix in (OWN_SUFFIX, BUNDLE_SUFFIX))
    raise not_found(f"{what} '{prefix}': neither {names} exists")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # such as a name that is too long
        raise invalid(f"'{shown(path)}' cannot be read: {error.strerror}") from None


def _pointed(directory: Path) -> str:
    pointer = directory / POINTER
    try:
        with pointer.open("rb") as file:
            text = file.read(_MAX_POINTER).decode()
    except FileNotFoundError:
        names = ", ".join(each.prefix.name for each in list_checkpoints(directory)[-8:])
        hint = f"; specify one of its checkpoints: {names}" if names else ""
        raise not_found(f"'{directory}' does not have a file '{POINTER}', which names the newest one{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(f"'{pointer}' cannot be read: {error}") from None
    match = _POINTED.search(text)
    name = re.split(r"[/\\]", match[1])[-1] if match else ""
    if not name:
        raise invalid(f"'{pointer}' does not have a line model_checkpoint_path: \"...\", but {shown(text)!r}")
    return name
