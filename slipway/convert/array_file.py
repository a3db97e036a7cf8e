"""Reads the .npz files that users give: arrays by name, never objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slipway.backends.shared.files import ZIP_ERRORS
from slipway.convert.arrays import Arrays
from slipway.errors import invalid, shown


def read_arrays(path: Path, refusal: str) -> Arrays:
    """Return the arrays of an .npz file; raise INVALID_ARG with `refusal` and the reason if it is not one."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (*ZIP_ERRORS, TypeError, MemoryError) as error:  # a .npy is not a context manager; a header may lie
        raise invalid(f"{refusal}: {shown(error)}") from None
