"""Whether a test may be skipped where NVIDIA's reference server cannot run: not with SLIPWAY_REFERENCE=required."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.reference import CannotRunError


@contextmanager
def skipped_without_reference() -> Iterator[None]:
    """Skip the test if the block cannot start the reference server, unless the server is required."""
    try:
        yield
    except CannotRunError as error:
        if os.environ.get("SLIPWAY_REFERENCE") == "required":
            raise
        pytest.skip(f"the reference server cannot run here: {error}")
