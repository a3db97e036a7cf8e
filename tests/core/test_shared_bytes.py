"""Bytes that are received in shared memory."""

from __future__ import annotations

import gc
import mmap
import os

import pytest

from slipway.core.shared_bytes import AVAILABLE, SharedBytes, whole_place

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this system has no memfd")


def received(*parts: bytes) -> SharedBytes:
    made = SharedBytes(parts[0])
    for part in parts[1:]:
        made.add(part)
    made.finish()
    return made


def test_parts_follow_one_another_beyond_the_first_capacity() -> None:
    parts = [bytes([number]) * (3 << 20) for number in range(5)]
    made = received(*parts)
    assert len(made) == 15 << 20
    assert bytes(made) == b"".join(parts)
    assert bytes(memoryview(made)[-2:]) == b"\x04\x04"


def test_another_map_of_the_descriptor_sees_the_same_bytes_and_cannot_change_the_size() -> None:
    made = received(b"abc", b"def")
    with mmap.mmap(made.descriptor, 6, access=mmap.ACCESS_COPY) as other:
        assert other[:] == b"abcdef"
        other[0:1] = b"x"
    assert bytes(made) == b"abcdef"
    with pytest.raises(PermissionError):
        os.ftruncate(made.descriptor, 0)


def test_the_descriptor_is_closed_with_the_last_view() -> None:
    made = received(b"abc")
    descriptor, view = made.descriptor, memoryview(made)[1:]
    del made
    gc.collect()
    assert os.fstat(descriptor).st_size == 3
    assert bytes(view) == b"bc"
    del view
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_without_memory_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SharedBytes(b"abc")

    def no_room(_: SharedBytes, size: int) -> None:
        raise OSError(size)

    monkeypatch.setattr(SharedBytes, "resize", no_room)
    with pytest.raises(MemoryError):
        made.add(bytes(5 << 20))


def test_views_that_follow_one_another_are_found_and_others_are_not() -> None:
    made, other = received(b"headABCDtail"), received(b"headABCDtail")
    view = memoryview(made).toreadonly()
    assert whole_place([view[4:8]]) == (made, 4)
    assert whole_place([view[4:6], view[6:8]]) == (made, 4)
    assert whole_place([view[6:8], view[4:6]]) is None
    assert whole_place([view[4:6], view[7:8]]) is None
    assert whole_place([view[4:6], memoryview(other)[6:8]]) is None
    assert whole_place([view[4:6], b"CD"]) is None
    assert whole_place([b"ABCD"]) is None
    assert whole_place([memoryview(b"ABCD")]) is None
