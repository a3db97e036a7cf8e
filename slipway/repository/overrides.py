"""Model files that come with a load request: written only to a temporary directory of their own.

The reason for a refusal goes to the log; as in Triton, the client learns only that the model could not be polled.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from slipway.errors import internal, invalid, shown

_MAX_COMPONENT_BYTES = 255  # NAME_MAX of the file systems in use


def check_files(files: Mapping[str, bytes], *, has_config: bool) -> None:
    """Raise INVALID_ARG if the files in a load request have invalid paths or come without a config."""
    if files and not has_config:
        raise invalid("Load parameter 'config' must be specified for model file override")
    for path in files:
        _check_path(path)


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.endswith("/") or "\0" in path or "\\" in path:
        raise invalid(f"Invalid file parameter 'file:{shown(path)}': expected the relative path of a file")
    for part in parts:
        if part in {"/", ".."}:
            raise invalid(f"Invalid file parameter 'file:{shown(path)}' must stay within model directory.")
        if len(part.encode()) > _MAX_COMPONENT_BYTES:
            raise invalid(f"Invalid file parameter 'file:{shown(part)}': a path component is longer than 255 bytes")


def write_files(model_name: str, files: Mapping[str, bytes]) -> Path:
    """Write checked files to a new temporary directory; return the model directory in it, which has the model's name.

    The caller calls `remove_files`. Raise INTERNAL if the files cannot be written.
    """
    root = Path(tempfile.mkdtemp(prefix="slipway-model-"))
    directory = root / model_name
    try:
        directory.mkdir()
        for path, content in files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except OSError as error:
        remove_files(directory)
        raise internal(f"the files of model '{model_name}' cannot be written: {error.strerror}") from error
    return directory


def remove_files(model_directory: Path) -> None:
    """Remove the directory that `write_files` created; files that cannot be removed are left to the system."""
    shutil.rmtree(model_directory.parent, ignore_errors=True)
