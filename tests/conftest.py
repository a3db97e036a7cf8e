"""What every test may use: real servers on ports of the system, and a check of the capability marks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.serving import RunningServer, running_server
from tests.capabilities import NAMES

# Before torch is imported anywhere, and for every server that a test starts: waiting OpenMP threads that spin take the
# cores from whatever else runs beside a test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is slow, which proves nothing; and examples that failed are not kept in the folder of the checkout,
# which may belong to somebody else: hypothesis prints each of them.
settings.register_profile("slipway", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slipway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a capability id that the list does not have."""
    for item in items:
        for mark in item.iter_markers("capability"):
            if mark.args[0] not in NAMES:
                raise pytest.UsageError(f"{item.nodeid}: no capability '{mark.args[0]}' in tests/capabilities.py")


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    """Start `slipway serve REPOSITORY [flags]`; every server is stopped when the test ends."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(running_server(*arguments))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes after their parameter: their own text may hold a time (gzip), and two processes that run the tests
    would collect different ones."""
    return argname if isinstance(val, bytes) else None
