from __future__ import annotations

import psutil
import pytest

CHILD = "slipway.backends.python.process.child"


@pytest.fixture
def children():
    """Return a function that returns the process ids of the Python models started since the test began. Others may be
    running: those of `lab`, which all tests of the package share."""

    def running():
        family = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
        return [process.pid for process in family if CHILD in process.cmdline()]

    before = running()
    return lambda: [pid for pid in running() if pid not in before]
