"""Frames survive however the stream is split, and large tensors travel in shared memory that frees itself."""

from __future__ import annotations

import os
import socket
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.backends.python.process import shared_memory
from slipway.backends.python.process.frames import SHARED_FROM, Frames
from slipway.core import shared_bytes
from slipway.core.shared_bytes import SharedBytes


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
    writer = Frames()
    stream = b"".join(writer.pack(message, blobs).data for message, blobs in contents)
    reader = Frames()
    received = []
    for start in range(0, len(stream), piece):
        received += reader.feed(bytearray(stream[start : start + piece]))
    assert [(bytes(frame.message), bytes(frame.blob)) for frame in received] == [
        (message, b"".join(blobs)) for message, blobs in contents
    ]


def test_small_tensors_are_writable_where_they_arrive():
    (frame,) = Frames().feed(bytearray(Frames().pack(b"m", [b"abc"]).data))
    frame.blob[0] = ord("x")
    assert bytes(frame.blob) == b"xbc"


def exchange(sender, receiver, connections, message, blobs):
    """Send one frame and return it as it arrives."""
    ours, theirs = connections
    send(ours, sender.pack(message, blobs))
    frames = []
    while not frames:
        frames = receiver.receive(theirs)
    return frames[0]


@pytest.fixture
def connections():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_large_tensors_travel_in_shared_memory_and_small_ones_do_not(connections):
    sender, receiver = Frames(), Frames()
    blobs = [b"a" * SHARED_FROM, b"b" * SHARED_FROM]
    packed = sender.pack(b"message", blobs)
    assert (len(packed.data) < 100, packed.descriptor >= 0) == (True, True)
    packed.close()
    frame = exchange(Frames(), receiver, connections, b"message", blobs)
    assert (bytes(frame.message), bytes(frame.blob)) == (b"message", b"".join(blobs))
    frame.blob[0] = 0  # writable
    assert sender.pack(b"message", [b"small"]).descriptor < 0


def test_memory_that_is_given_back_is_used_again_and_memory_in_use_is_not(connections):
    sender, receiver = Frames(), Frames()
    back = connections[::-1]
    one, two = b"1" * SHARED_FROM, b"2" * SHARED_FROM
    held = exchange(sender, receiver, connections, b"", [one]).blob[:10]
    kept = exchange(sender, receiver, connections, b"", [two])
    exchange(receiver, sender, back, b"nothing to give back yet", [])
    before = open_descriptors()
    for _ in range(20):
        frame = exchange(sender, receiver, connections, b"", [two])
        del frame
        exchange(receiver, sender, back, b"gives it back", [])
    assert open_descriptors() <= before + 2  # one more piece, mapped at both ends
    assert (bytes(held), bytes(kept.blob)) == (one[:10], two)


def test_a_piece_of_another_size_is_another_piece(connections):
    sender, receiver = Frames(), Frames()
    for size in (SHARED_FROM, 3 * SHARED_FROM, SHARED_FROM + 1):
        frame = exchange(sender, receiver, connections, b"", [b"x" * size])
        assert len(frame.blob) == size
        del frame
        exchange(receiver, sender, connections[::-1], b"", [])


def test_what_lies_unused_beyond_a_limit_gives_its_pages_up(connections, monkeypatch):
    monkeypatch.setattr(shared_memory, "KEPT", 1 << 20)
    sender, receiver = Frames(), Frames()
    frames = [exchange(sender, receiver, connections, b"", [b"x" * (1 << 20)]) for _ in range(4)]
    memories = [segment.memory for segment in sender._lender._lent.values()]
    frames.clear()
    exchange(receiver, sender, connections[::-1], b"", [])
    assert sorted(memory[:1] for memory in memories) == [b"\0", b"\0", b"\0", b"x"]
    again = exchange(sender, receiver, connections, b"", [b"y" * (1 << 20)])
    assert bytes(again.blob[-2:]) == b"yy"


@pytest.mark.skipif(not shared_bytes.AVAILABLE, reason="this system has no memfd")
def test_tensors_that_came_in_shared_memory_are_not_copied_and_the_receivers_writes_stay_its_own(connections):
    body = SharedBytes(b"head")
    body.add(b"a" * SHARED_FROM + b"b" * SHARED_FROM)
    body.finish()
    view = memoryview(body).toreadonly()
    blobs = [view[4 : 4 + SHARED_FROM], view[4 + SHARED_FROM :]]
    sender, receiver = Frames(), Frames()
    before = open_descriptors()
    for _ in range(3):
        frame = exchange(sender, receiver, connections, b"message", blobs)
        assert bytes(frame.blob) == b"a" * SHARED_FROM + b"b" * SHARED_FROM
        frame.blob[0] = ord("x")
        assert bytes(frame.blob[:2]) == b"xa"
        assert list(sender._lender._lent_once.values()) == [body]
        del frame
        exchange(receiver, sender, connections[::-1], b"gives it back", [])
        assert not sender._lender._lent_once
    assert not sender._lender._lent
    assert open_descriptors() == before
    assert bytes(view) == b"head" + b"a" * SHARED_FROM + b"b" * SHARED_FROM


@pytest.mark.skipif(not shared_bytes.AVAILABLE, reason="this system has no memfd")
def test_only_a_request_that_was_lent_is_owed_at_once_and_it_goes_back_without_a_message(connections):
    body = SharedBytes(b"a" * SHARED_FROM)
    body.finish()
    sender, receiver = Frames(), Frames()
    piece = exchange(sender, receiver, connections, b"", [b"b" * SHARED_FROM])
    del piece
    assert not receiver.owes_request
    request = exchange(sender, receiver, connections, b"", [memoryview(body).toreadonly()])
    assert not receiver.owes_request
    del request
    assert receiver.owes_request
    assert sender.feed(bytearray(receiver.pack_returned())) == []
    assert not sender._lender._lent_once
    assert not sender._lender._lent
    assert not receiver.owes_request
    assert receiver.pack_returned() == b""


def test_two_threads_may_return_the_same_pieces(connections):
    class Contended(deque):
        """What a thread sees between its look at a queue and another thread's taking from it."""

        def __len__(self):
            return super().__len__() + 1

    sender, receiver = Frames(), Frames()
    receiver._borrower.returned = Contended()
    frame = exchange(sender, receiver, connections, b"", [b"b" * SHARED_FROM])
    del frame
    assert sender.feed(bytearray(receiver.pack_returned())) == []
    assert not sender._lender._lent


def test_the_end_of_the_stream_is_distinguished_from_silence():
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        reader = Frames()
        with pytest.raises(BlockingIOError):
            reader.receive(theirs)
        ours.sendall(Frames().pack(b"half").data[:5])
        ours.close()
        assert reader.receive(theirs) == []
        assert reader.receive(theirs) is None


def test_descriptors_of_frames_that_never_came_are_closed():
    before = open_descriptors()
    reader = Frames()
    reader.feed(bytearray(b"\1"), [os.dup(0)])
    reader.close()
    assert open_descriptors() == before
