"""Servers with the settings that tests need; `benchmarks.serving` starts and stops them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks.serving import RunningServer, running_server


@contextmanager
def served(repository: Path, *flags: str) -> Iterator[RunningServer]:
    """Run a server with its own cache directory for converted models."""
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, SLIPWAY_CACHE_DIR=cache),
        running_server(repository, *flags) as server,
    ):
        yield server
