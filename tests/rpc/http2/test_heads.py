"""Heads of calls: a block means the same whether one like it was read before or not; blocks of the server are HPACK."""

from __future__ import annotations

import base64

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from slipway.rpc.http2.frames import Http2Code, Http2Error
from slipway.rpc.http2.heads import (
    MAX_BLOCK,
    MAX_HEAD,
    RESPONSE,
    HeadReader,
    call_head,
    http_refusal,
    timeout,
    trailers,
)

CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "test"),
]
NAMES = st.sampled_from(["a", "b", "x-bin", "grpc-timeout", "authorization"])
VALUES = st.sampled_from(["", "1", "100m", "secret", "Zm9v", "long" * 50])


def read(reader, block):
    head = reader.read(block)
    return head.path, head.metadata, head.timeout_s, head.coding, head.refusal


def expected(headers):
    head = call_head(headers)
    return head.path, head.metadata, head.timeout_s, head.coding, head.refusal


@given(st.lists(st.tuples(st.lists(st.tuples(NAMES, VALUES), max_size=4), st.booleans(), st.integers(0, 3))))
def test_a_block_means_the_same_whatever_was_read_before(calls):
    encoder, reader = Encoder(), HeadReader()
    for more, huffman, change in calls:
        if change == 0:
            encoder.header_table_size = 128
        elif change == 1:
            encoder.header_table_size = 4096
        headers = [*CALL, *more]
        assert read(reader, encoder.encode(headers, huffman=huffman)) == expected(headers)


def test_a_repeated_head_is_read_once():
    encoder, reader = Encoder(), HeadReader()
    reader.read(encoder.encode(CALL))
    block = encoder.encode(CALL)
    assert reader.read(block) is reader.read(encoder.encode(CALL))


def test_what_is_remembered_is_bounded():
    reader = HeadReader()
    for number in range(1000):
        reader.read(b"\0\1a\4%04d" % number)
    assert len(reader._known) <= 64


def test_metadata_are_what_is_not_the_transports():
    value = base64.b64encode(b"\0\1").decode().rstrip("=")
    head = call_head([*CALL, ("mine", "1"), ("mine", "2"), ("b-bin", value), ("grpc-encoding", "gzip")])
    assert head.metadata == (("user-agent", "test"), ("mine", "1"), ("mine", "2"), ("b-bin", b"\0\1"))
    assert head.coding == "gzip"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(":method", "GET"), ("content-type", "application/grpc")], 405),
        ([(":method", "POST"), ("content-type", "text/html")], 415),
        ([(":method", "POST")], 415),
        ([(":method", "POST"), ("content-type", "application/grpc+proto")], 0),
    ],
)
def test_other_requests_than_grpcs_have_a_status_of_http(headers, status):
    assert call_head(headers).refusal == status
    if status:
        assert Decoder().decode(http_refusal(status)) == [(":status", str(status))]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2H", 7200.0),
        ("3M", 180.0),
        ("4S", 4.0),
        ("5m", 0.005),
        ("6u", 6e-6),
        ("7n", 7e-9),
        ("99999999S", 99999999.0),
        ("", None),
        ("5", None),
        ("S", None),
        ("-1S", None),
        ("123456789S", None),
        ("1.5S", None),
        ("²S", None),
    ],
)
def test_the_time_of_a_call(text, seconds):
    assert timeout(text) == (seconds and pytest.approx(seconds))


@pytest.mark.parametrize(
    "block",
    [
        b"\xff",  # a number that does not end
        b"\xc0",  # an index outside the table
        b"\x80",  # index 0
        b"\0\5ab",  # cut
        b"\0\x81\xff\0",  # wrong Huffman code
        b"\x3f\xff\xff\x7f",  # a table larger than allowed
        b"\0\1a\x7f\x81\xff\3" + bytes(MAX_BLOCK),  # larger than what is read
        b"\x20\x3f\x01\x20\x82",  # the size of the table three times
        b"\x82" * 2000,  # small, but large when it is read
    ],
)
def test_a_block_that_cannot_be_read_ends_the_connection(block):
    with pytest.raises(Http2Error) as broken:
        HeadReader().read(block)
    assert broken.value.code is Http2Code.COMPRESSION_ERROR


def test_of_a_head_above_the_limit_nothing_but_its_size_is_known():
    reader = HeadReader()
    assert reader.read(b"\x40\1a\x7f\x81\x7f" + bytes(MAX_HEAD)).excess == MAX_HEAD + 33
    assert reader.read(b"\x82" * 600).excess == 600 * (len(":methodGET") + 32)


def test_the_servers_blocks_can_be_read_in_any_order():
    decoder = Decoder()
    message = "größer, 100 %\n" + "x" * 300
    for _ in range(2):
        assert decoder.decode(RESPONSE) == [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", "identity,deflate,gzip"),
        ]
        encoded = "gr%C3%B6%C3%9Fer, 100 %25%0A" + "x" * 300
        assert decoder.decode(trailers(3, message)) == [("grpc-status", "3"), ("grpc-message", encoded)]
        assert decoder.decode(trailers(0, "")) == [("grpc-status", "0")]
