"""Raw contents are found without copying: the same as the library's, or None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from slipway.wire.protobuf_request import request_id
from slipway.wire.protobuf_split import split_raw_contents


def example(raws):
    request = service_pb2.ModelInferRequest(model_name="m", id="x" * 200, raw_input_contents=raws)
    request.inputs.add(name="I", datatype="FP32", shape=[2, -1])
    request.parameters["k"].string_param = "v"
    request.outputs.add(name="O")
    return request


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_the_parts_are_the_message(raws):
    request = example(raws)
    header, views = split_raw_contents(request.SerializeToString())
    assert [bytes(view) for view in views] == raws
    del request.raw_input_contents[:]
    assert service_pb2.ModelInferRequest.FromString(header) == request


@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_a_message_cut_short_or_changed_never_gives_more_than_it_holds(raws, data):
    payload = bytearray(example(raws).SerializeToString())
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    parts = split_raw_contents(cut)
    assert parts is None or len(parts[0]) + sum(map(len, parts[1])) <= len(cut)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x3a\x05abc",  # shorter than it says
        b"\x3a",  # no length
        b"\x3b",  # a group
        b"\xff" * 12,  # a number of more than 64 bits
        b"\x3a\x00" * 5000,  # many fields are the library's work
    ],
)
def test_the_unusual_is_left_to_the_library(payload):
    assert split_raw_contents(payload) is None


def test_fields_of_every_wire_type_are_kept():
    unknown = b"\x98\x06\x01" + b"\xa1\x06" + bytes(8) + b"\xad\x06" + bytes(4)
    header, views = split_raw_contents(unknown + b"\x3a\x01z")
    assert header == unknown
    assert [bytes(view) for view in views] == [b"z"]


@pytest.mark.parametrize("identifier", ["", "x" * 200, "é"])
def test_the_id_is_found_without_parsing(identifier):
    request = example([b"z"])
    request.id = identifier
    assert request_id(request.SerializeToString()) == identifier


@pytest.mark.parametrize("payload", [b"\x1a\x01\xff", b"\x1a\x05abc", b"\x3a\x00" * 5000, b"\xff" * 12])
def test_an_unusual_message_has_no_id(payload):
    assert request_id(payload) == ""
