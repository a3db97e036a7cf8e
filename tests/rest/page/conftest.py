"""The page in front of the tiny models of the HTTP front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.rest.access import access_to
from slipway.rest.app import build_app
from slipway.rest.context import RestOptions
from slipway.rest.metrics import MetricsOptions, build_metrics_page
from slipway.rest.page.files import read_files
from slipway.rest.page.page import GrpcPlace, Page
from tests.kits.memory_dataplane import MemoryDataplane
from tests.rest.conftest import Served, serve
from tests.rest.models import INDEX, MODELS

FILES = read_files()


@contextmanager
def paged(files: dict[str, Path] | None = None, models=MODELS, index=INDEX, **settings: Any) -> Iterator[Served]:
    """Serve the page; `settings` are those of the front."""
    from slipway.engine.api import ServerMetadata

    plane = MemoryDataplane(models, metadata=ServerMetadata("slipway", "1.2.3", ()), index=index, files=files)
    page = Page(FILES, build_metrics_page(plane, MetricsOptions()), grpc=GrpcPlace(8001, is_encrypted=True))
    options = RestOptions(**{"page": page, "access": access_to("127.0.0.1", ())} | settings)
    with serve(plane, build_app(plane, options)) as running:
        yield running


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with paged() as running:
        yield running


Serve = Callable[..., Any]
