"""Reading from and writing to places in regions, whatever their owner does meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from slipway.errors import Code, SlipwayError
from slipway.regions import region as module

PAGE = 4096


def refused(action):
    with pytest.raises(SlipwayError) as caught:
        action()
    return caught.value.code, caught.value.message


SHORTER = (Code.INVALID_ARG, "shared memory region 'r' is shorter than when it was registered")


@pytest.mark.parametrize("at_a_time", [1 << 30, 7])
def test_what_is_written_at_a_place_is_read_from_it(memory, regions, monkeypatch, at_a_time):
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)  # a large tensor takes several calls
    regions.register("r", "/data", PAGE, PAGE)
    place = regions.find("r", 100, 50)
    assert bytes(place.read()) == (memory / "data").read_bytes()[PAGE + 100 : PAGE + 150]
    before = (memory / "data").read_bytes()
    place.write(b"x" * 20)
    assert (memory / "data").read_bytes() == before[: PAGE + 100] + b"x" * 20 + before[PAGE + 120 :]


def test_a_copy_does_not_change_with_the_region(memory, regions):
    regions.register("r", "/data", 0, PAGE)
    copy = regions.find("r", 0, 4).read()
    assert copy.readonly
    with (memory / "data").open("r+b") as file:
        file.write(b"zzzz")
    assert bytes(copy) == bytes(range(4))


def test_a_file_that_became_shorter_is_neither_read_nor_extended(memory, regions):
    regions.register("r", "/data", 0, 2 * PAGE)
    end, begin = regions.find("r", 2 * PAGE - 8, 8), regions.find("r", 0, 8)
    os.truncate(memory / "data", PAGE)
    assert refused(end.read) == SHORTER
    assert refused(lambda: end.write(b"12345678")) == SHORTER
    assert (memory / "data").stat().st_size == PAGE
    assert bytes(begin.read()) == bytes(range(8))
    os.truncate(memory / "data", 0)
    assert refused(begin.read) == SHORTER


def test_a_file_that_becomes_shorter_while_it_is_read_ends_the_copy(regions, monkeypatch):
    regions.register("r", "/data", 0, 2 * PAGE)
    place = regions.find("r", 0, 2 * PAGE)
    monkeypatch.setattr(module.RegionPlace, "check", lambda self: os.truncate(self.region.descriptor, PAGE))
    assert refused(place.read) == SHORTER


def test_a_write_without_room_is_an_error(regions, monkeypatch):
    regions.register("r", "/data", 0, PAGE)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    expected = (Code.UNAVAILABLE, "cannot write to shared memory region 'r': No space left on device")
    assert refused(lambda: regions.find("r", 0, 4).write(b"1234")) == expected


def test_a_read_without_memory_is_an_error(regions, monkeypatch):
    regions.register("r", "/data", 0, PAGE)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(module.np, "empty", full)
    code, text = refused(regions.find("r", 0, 8).read)
    assert (code, "does not have enough memory" in text) == (Code.UNAVAILABLE, True)


def test_a_region_closes_its_file_once_nothing_refers_to_it(regions):
    regions.register("r", "/data", 0, PAGE)
    place = regions.find("r", 0, 4)
    descriptor = place.region.descriptor
    regions.unregister("r")
    assert bytes(place.read()) == bytes(range(4))
    del place
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


ATTACK = """
import os, threading
from pathlib import Path
from slipway.errors import SlipwayError
from slipway.regions.registry import Regions

size = 1 << 20
path = Path(f"/dev/shm/slipway-test-{os.getpid()}")
path.write_bytes(bytes(size))
try:
    regions = Regions(allowed=True)
    regions.register("r", path.name, 0, size)
    place = regions.find("r", 0, size)
    done = threading.Event()

    def shorten():
        while not done.is_set():
            os.truncate(path, 0)
            os.truncate(path, size)

    thread = threading.Thread(target=shorten)
    thread.start()
    for _ in range(300):
        for action in (place.read, lambda: place.write(b"x" * size)):
            try:
                action()
            except SlipwayError:
                pass
    done.set()
    thread.join()
finally:
    path.unlink()
print("alive")
"""


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="the system keeps shared memory elsewhere")  # noqa: PTH112, S108
def test_no_timing_of_its_owner_kills_the_reader_or_the_writer():
    done = subprocess.run([sys.executable, "-c", ATTACK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
