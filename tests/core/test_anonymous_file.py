"""Memory to share, where the system has memfd_create and where it lacks it, as macOS does."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from slipway.core import anonymous_file as module
from slipway.core.anonymous_file import anonymous_file
from slipway.errors import Code
from tests.backends.python.engine_kit import FLOAT_IO, error_of, float_request, infer_text, methods, served, write_model

SIZE = (1 << 20) + 4096
LINUX_ONLY = ("memfd_create", "pidfd_open", "posix_fallocate")
WITHOUT = "".join(f"import os\nif hasattr(os, {name!r}): del os.{name}\n" for name in LINUX_ONLY)
DOUBLING = methods("""
    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", 2 * array)]) for array in arrays]
""")
DYING = methods("""
    def execute(self, requests):
        if text(requests[0]) == "exit": os._exit(3)
        return [reply("alive")]
""")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Lay the two places where files without a name are made into the test's own directory."""
    shared, temporary = tmp_path / "shm", tmp_path / "tmp"
    shared.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(module, "_SHARED_MEMORY", shared)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(temporary))
    return shared, temporary


@pytest.fixture
def macos(monkeypatch):
    """Take the calls away that only Linux has."""
    for name in LINUX_ONLY:
        monkeypatch.delattr(os, name)


def check_is_memory(descriptor):
    """Map it twice, as the two ends of a link do: what one writes the other reads."""
    try:
        ours, theirs = mmap.mmap(descriptor, SIZE), mmap.mmap(descriptor, SIZE)
        assert ours[:] == bytes(SIZE)
        ours[-3:] = b"end"
        assert theirs[-3:] == b"end"
        assert os.get_inheritable(descriptor) is False
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("missing", [(), ("memfd_create",), LINUX_ONLY])
def test_memory_is_shared_by_its_descriptor_and_leaves_no_file(places, monkeypatch, missing):
    for name in missing:
        monkeypatch.delattr(os, name)
    check_is_memory(anonymous_file(SIZE))
    assert [list(place.iterdir()) for place in places] == [[], []]


@pytest.mark.usefixtures("macos")
def test_without_dev_shm_the_temporary_directory_is_taken(places):
    places[0].rmdir()
    check_is_memory(anonymous_file(SIZE))


@pytest.mark.usefixtures("places")
def test_where_there_is_no_room_it_is_an_error_and_nothing_stays_open(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(os, "posix_fallocate", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="No space left"):
        anonymous_file(SIZE)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.usefixtures("macos")
def test_large_tensors_reach_a_python_model_and_come_back_without_the_calls_of_linux(tmp_path):
    write_model(tmp_path, "m", WITHOUT + DOUBLING, io=FLOAT_IO)

    async def scenario(engine):
        for size in (10, 1 << 20, 1 << 21, 1 << 20):
            given = np.arange(size, dtype=np.float32)
            response = await engine.infer(float_request("m", given))
            np.testing.assert_array_equal(response.outputs[0].array, 2 * given)

    served(tmp_path, scenario)


@pytest.mark.usefixtures("macos")
def test_a_process_that_dies_is_noticed_without_the_calls_of_linux(tmp_path):
    write_model(tmp_path, "m", WITHOUT + DYING)

    async def scenario(engine):
        assert (await error_of(engine, "m", "exit")).code is Code.INTERNAL
        assert await infer_text(engine, "m", "next") == ["alive"]

    served(tmp_path, scenario)
