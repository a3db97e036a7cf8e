"""Find the file of a LightSeq model: next to config.pbtxt, or in the version directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slipway.backends.shared.files import relative_file
from slipway.errors import invalid, unavailable

EXTENSIONS: Final = (".pb", ".hdf5")


def lightseq_file(model_name: str, file_name: str, model_directory: Path, version_directory: Path) -> Path:
    """Return the path of `default_model_filename`; the model directory is searched before the version directory.

    Raise INVALID_ARG when no file is named or its extension is unknown, UNAVAILABLE when it is in neither place.
    """
    if not file_name:
        raise invalid(
            f"unable to load model '{model_name}': default_model_filename must name the model file next to config.pbtxt"
        )
    relative = relative_file(model_name, file_name, "model")
    if relative.suffix not in EXTENSIONS:
        raise invalid(
            f"unable to load model '{model_name}': file '{file_name}' has an unknown extension. "
            f"Supported extensions: {', '.join(EXTENSIONS)}"
        )
    for directory in (model_directory, version_directory):
        if (directory / relative).is_file():
            return directory / relative
    raise unavailable(
        f"unable to find '{file_name}' for model '{model_name}', neither in '{model_directory.name}/' nor in "
        f"'{model_directory.name}/{version_directory.name}/'; put the file next to config.pbtxt or correct "
        f"default_model_filename"
    )
