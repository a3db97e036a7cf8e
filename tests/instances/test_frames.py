"""Frames survive however the stream is split, and large tensors travel in shared memory that frees itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.instances.frames import SHARED_FROM, FrameReader, pack


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def send(connection, packed):
    try:
        if packed.descriptor < 0:
            connection.sendall(packed.data)
        else:
            socket.send_fds(connection, [packed.data], [packed.descriptor])
    finally:
        packed.close()


@given(
    st.lists(st.tuples(st.binary(max_size=50), st.lists(st.binary(max_size=50), max_size=3)), max_size=8),
    st.integers(1, 40),
)
def test_frames_survive_any_split_of_the_stream(contents, piece):
    stream = b"".join(pack(message, blobs).data for message, blobs in contents)
    reader = FrameReader()
    received = []
    for start in range(0, len(stream), piece):
        received += reader.feed(bytearray(stream[start : start + piece]))
    assert [(bytes(frame.message), bytes(frame.blob)) for frame in received] == [
        (message, b"".join(blobs)) for message, blobs in contents
    ]


def test_small_tensors_are_writable_where_they_arrive():
    (frame,) = FrameReader().feed(bytearray(pack(b"m", [b"abc"]).data))
    frame.blob[0] = ord("x")
    assert bytes(frame.blob) == b"xbc"


def test_large_tensors_travel_in_shared_memory_and_leave_no_descriptor_behind():
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        blobs = [b"a" * SHARED_FROM, b"b" * SHARED_FROM]
        packed = pack(b"message", blobs)
        assert len(packed.data) < 100
        send(ours, packed)
        send(ours, pack(b"next", [b"small"]))
        reader = FrameReader()
        frames = []
        while len(frames) < 2:
            frames += reader.receive(theirs)
    assert bytes(frames[0].blob) == b"".join(blobs)
    assert bytes(frames[1].blob) == b"small"
    frames[0].blob[0] = 0  # a private, writable copy
    del frames
    assert open_descriptors() == before


def test_the_end_of_the_stream_is_told_apart_from_silence():
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        reader = FrameReader()
        with pytest.raises(BlockingIOError):
            reader.receive(theirs)
        ours.sendall(pack(b"half").data[:5])
        ours.close()
        assert reader.receive(theirs) == []
        assert reader.receive(theirs) is None


def test_descriptors_of_frames_that_never_came_are_closed():
    before = open_descriptors()
    reader = FrameReader()
    reader.feed(bytearray(b"\1"), [os.dup(0)])
    reader.close()
    assert open_descriptors() == before
