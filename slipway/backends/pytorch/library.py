"""The edge to torch's readers, which are not made for several threads at once.

`torch.export.load` keeps what it reads in variables of its module: two loads at the same time fail on each other's
names. `torch.jit.load` is called with a warning filter, which belongs to the whole process. Every reading of a torch
file goes through here, one at a time. Knows neither configurations nor requests.
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
    """Hold torch's readers; what is made of a program (its module, a trace) belongs inside too."""
    with _reading:
        yield


def load_script(path: Path) -> Any:
    """Return the TorchScript module of a file; raises whatever torch raises."""
    import torch

    with one_reader(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]


def load_program(path: Path) -> Any:
    """Return the torch.export.ExportedProgram of a file; raises whatever torch raises."""
    import torch

    with one_reader():
        return torch.export.load(str(path))
