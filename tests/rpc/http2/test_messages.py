"""gRPC messages in the data of a call: in any pieces, of bounded size, compressed or not."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.rpc.http2.messages import CallRefusedError, MessageReader, check_coding, inflated

LIMIT = 1000


def prefixed(message, flag=0):
    return struct.pack(">BI", flag, len(message)) + message


def read(reader, data):
    found = []
    while data:
        message, data = reader.feed(data)
        if message is not None:
            found.append(message)
    return found


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_messages_are_the_same_in_whatever_pieces_they_come(messages, data):
    stream = b"".join(map(prefixed, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = MessageReader(LIMIT)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += read(reader, stream[start:end])
    assert found == messages
    assert reader.is_between


def test_a_message_that_is_cut_is_not_between_messages():
    for size in range(1, 8):
        reader = MessageReader(LIMIT)
        assert read(reader, prefixed(b"abc")[:size]) == []
        assert not reader.is_between


def test_small_parts_do_not_take_much_more_than_they_have():
    reader = MessageReader(1 << 20)
    size = 200_000
    reader.feed(struct.pack(">BI", 0, size))
    tracemalloc.start()
    try:
        for _ in range(size // 2 - 1):
            assert reader.feed(bytes(2)) == (None, b"")
        assert tracemalloc.get_traced_memory()[0] < 2 * size
    finally:
        tracemalloc.stop()
    assert reader.feed(b"abc") == (bytes(size - 2) + b"ab", b"c")


def test_a_message_above_the_limit_is_refused_at_its_first_bytes():
    with pytest.raises(CallRefusedError, match=r"Received message larger than max \(1001 vs. 1000\)") as refused:
        MessageReader(LIMIT).feed(prefixed(bytes(1001))[:5])
    assert refused.value.status == 8


def test_an_unknown_flag_is_refused():
    with pytest.raises(CallRefusedError, match="the unknown flag 2"):
        MessageReader(LIMIT).feed(prefixed(b"x", flag=2))


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_message_is_unfolded_up_to_the_limit(coding, compress):
    reader = MessageReader(LIMIT)
    (message,) = read(reader, prefixed(compress(bytes(LIMIT)), flag=1))
    assert reader.is_compressed
    assert inflated(message, coding, LIMIT) == bytes(LIMIT)
    assert inflated(compress(b""), coding, LIMIT) == b""
    with pytest.raises(CallRefusedError, match="larger than max"):
        inflated(compress(bytes(LIMIT + 1)), coding, LIMIT)


@pytest.mark.parametrize(
    ("message", "coding"),
    [
        (gzip.compress(b"abc")[:-1], "gzip"),
        (gzip.compress(b"abc") + b"more", "gzip"),
        (b"", "gzip"),
        (b"abc", "gzip"),
        (gzip.compress(b"abc"), "deflate"),
        (gzip.compress(b"abc"), "identity"),
    ],
)
def test_a_message_that_cannot_be_unfolded_is_refused(message, coding):
    with pytest.raises(CallRefusedError) as refused:
        inflated(message, coding, LIMIT)
    assert refused.value.status == 13


def test_an_unknown_compression_is_not_implemented():
    for known in ("identity", "gzip", "deflate"):
        check_coding(known)
    with pytest.raises(CallRefusedError, match="Compression algorithm 'zstd' is not supported") as refused:
        check_coding("zstd")
    assert refused.value.status == 12
