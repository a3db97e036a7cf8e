"""The model repository of bound models: a temporary directory with the configuration of each.

So they are found, versioned, listed, loaded and unloaded like all others. Knows neither the server nor the functions.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format

from slipway.backends.function.bound_model import BoundModel
from slipway.repository.scan import CONFIG_FILE


class BoundRepository:
    """A directory with one subdirectory per model, until it is closed, or until the process that made it ends."""

    def __init__(self, models: Iterable[BoundModel]) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="slipway-bound-"))
        self._end = weakref.finalize(self, _remove, self.path, os.getpid())
        for model in models:
            self.add(model)

    def add(self, model: BoundModel) -> None:
        """Add a version of a model, whole from the moment that it can be seen."""
        directory = self.path / model.name
        if directory.is_dir():
            (directory / str(model.version)).mkdir()
            return
        with tempfile.TemporaryDirectory(prefix="slipway-model-") as name:
            made = Path(name, "model")
            (made / str(model.version)).mkdir(parents=True)
            (made / CONFIG_FILE).write_text(text_format.MessageToString(model.config), encoding="utf-8")
            shutil.move(made, directory)

    def remove(self, model: BoundModel) -> None:
        """Remove a version, and the model with its last one."""
        directory = self.path / model.name
        shutil.rmtree(directory / str(model.version), ignore_errors=True)
        if directory.is_dir() and not any(path.is_dir() for path in directory.iterdir()):
            shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Remove the directory."""
        self._end()


def _remove(path: Path, owner: int) -> None:
    """Remove the directory, unless this process is a copy (a fork) of the one that made it."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
