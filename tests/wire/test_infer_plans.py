"""The JSON parts that are decoded once: a request is the same whether its parts were seen before or not."""

from __future__ import annotations

import itertools

import pytest

from slipway.errors import SlipwayError
from slipway.wire import infer_request
from slipway.wire.infer_request import decode_infer

TENSORS = (
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}]',
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}],"outputs":[{"name":"B"}]',
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}],"id":"late"',
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}],"id":""',
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}],"parameters":{"x":1}',
    b'"inputs":[{"name":"A","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}}],"more":1',
)
HEADS = (
    b"",
    b'"id":"1",',
    b'"id":"2","parameters":{"sequence_id":3,"sequence_start":true,"sequence_end":false},',
    b'"id":"3","parameters":{"sequence_id":"s","priority":1,"timeout":2,"mine":"m"},',
    b'"parameters":{"binary_data_output":true},"id":"4",',
    b'"parameters":{"sequence_id":-1},',
    b'"parameters":{"sequence_id":"","binary_data_output":true},',
    b'"parameters":{"triton_x":1},',
    b'"parameters":{"x":[1]},',
    b'"parameters":7,',
    b'"id":5,',
    b'"id":"",',
    b'"id":"a:b",',
    b'"id":"\\ud800",',
    b'"id":"6","id":"7",',
    b'"parameters":{"mine":1,"mine":2},',
    b'"unknown":{"a":1},',
    b'"inputs":[],',
    b'"id":"8","outputs":[{"name":"C"}],',
    b'"id":"8,',
    b'"id":"x,\\"inputs\\":[",',
    b'"parameters":{"y":1,',
    b",",
    b" ,",
)


def read(head, tensors):
    text = b"{" + head + tensors + b"}"
    try:
        request, encoding = decode_infer("m", "", text + b"\1\2", len(text))
    except SlipwayError as error:
        return (error.code, error.message)
    tensors = {name: bytes(tensor.raw) for name, tensor in request.inputs.items()}
    outputs = {name: (each.binary, each.classes) for name, each in encoding.outputs.items()}
    fields = (request.id, request.correlation_id, request.flags, request.priority, request.timeout_us)
    return fields, request.parameters, request.outputs, tensors, encoding.binary, outputs


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_decoded_before_changes_no_request(monkeypatch, order):
    expected = {}
    for head, tensors in itertools.product(HEADS, TENSORS):
        monkeypatch.setattr(infer_request, "_PLANS", {})
        expected[head, tensors] = read(head, tensors)
    monkeypatch.setattr(infer_request, "_PLANS", {})
    for _ in range(2):
        assert {key: read(*key) for key in list(expected)[::order]} == {key: expected[key] for key in expected}


def test_requests_that_differ_in_their_ids_and_parameters_are_decoded_once(monkeypatch):
    monkeypatch.setattr(infer_request, "_PLANS", {})
    for number in range(10):
        head = b'"id":"%d","parameters":{"sequence_id":%d,"sequence_start":true},' % (number, number + 1)
        assert read(head, TENSORS[1])[0] == (str(number), number + 1, 1, 0, 0)
        monkeypatch.setattr(infer_request, "_decode", None)
    assert list(infer_request._PLANS) == [b"," + TENSORS[1] + b"}"]
