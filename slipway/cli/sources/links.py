"""A model repository of symbolic links, whose models can be exchanged for others of the same names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp


class LinkedModels:
    """A directory with one link per model, until `remove`."""

    def __init__(self) -> None:
        self._root = Path(mkdtemp(prefix="slipway-serve-"))
        self.repository = self._root / "models"
        self.repository.mkdir()

    def point(self, models: Path, names: Iterable[str]) -> None:
        """Let each of the names be the model of that name in another directory, from one moment to the next."""
        for name in names:
            new = self._root / "new"  # not in the repository, which may be scanned at any time
            new.symlink_to((models / name).resolve())
            os.replace(new, self.repository / name)  # noqa: PTH105  the link, not what it points to

    def remove(self) -> None:
        """Remove the directory with the links."""
        shutil.rmtree(self._root, ignore_errors=True)
