"""The edge to torch's readers, which are not safe to use from several threads at once.

`torch.export.load` keeps what it reads in variables of its module: two loads at the same time fail on each other's
names. `torch.jit.load` is called with a warning filter, which applies to the whole process. All torch files are read
here, one at a time. Knows neither configurations nor requests.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final

_reading: Final = RLock()  # of the process: models load in several threads


@contextmanager
def one_reader() -> Iterator[None]:
    """Hold torch's readers; making a module or a trace from a program belongs inside too."""
    with _reading:
        yield


def load_script(path: Path) -> Any:
    """Return the TorchScript module of a file; pass on torch's errors."""
    import torch

    with one_reader(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]


def load_program(path: Path) -> Any:
    """Return the torch.export.ExportedProgram of a file; pass on torch's errors."""
    import torch

    with one_reader():
        return torch.export.load(str(path))
