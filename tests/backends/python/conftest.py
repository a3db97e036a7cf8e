from __future__ import annotations

import asyncio

import pytest

from tests.backends.python.lab import LABS, Lab, write_lab


@pytest.fixture(scope="package", params=["thread", "process"])
def lab(request, tmp_path_factory):
    repository = tmp_path_factory.mktemp("labs")
    for name in LABS:
        write_lab(repository, name, request.param)
    with asyncio.Runner() as runner:
        lab = Lab(runner, request.param, repository)
        assert not lab.failed
        yield lab
        lab.stop()
