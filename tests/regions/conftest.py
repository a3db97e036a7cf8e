"""A registry over a private directory, which stands for the system's shared memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.regions.registry import Regions


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """The directory, with `data` in it: two pages of bytes that count up."""
    (tmp_path / "data").write_bytes(bytes(range(256)) * 32)
    return tmp_path


@pytest.fixture
def regions(memory: Path) -> Regions:
    """A registry in which three regions have room."""
    return Regions(allowed=True, directory=memory, limit=3)
