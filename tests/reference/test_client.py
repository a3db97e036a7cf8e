"""`slipway.Client` gets the same from NVIDIA's server as from Slipway, over both protocols."""

from __future__ import annotations

import numpy as np
import pytest

import slipway
from slipway import Code, SlipwayError


@pytest.fixture(params=["grpc", "http"])
def clients(request, servers):
    urls = [
        f"127.0.0.1:{ports.grpc}" if request.param == "grpc" else f"http://127.0.0.1:{ports.http}" for ports in servers
    ]
    ours, theirs = (slipway.Client(url, timeout=60) for url in urls)
    with ours, theirs:
        yield ours, theirs
