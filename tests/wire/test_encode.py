"""Responses on the wire."""

from __future__ import annotations

import json
import math

import ml_dtypes
import numpy as np
import pytest

from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.wire.encode import encode_infer
from slipway.wire.infer_request import OutputEncoding, ResponseEncoding

LABELLED = ModelSignature("m", 8, {}, {"OUT0": TensorSpec("OUT0", "FP32", (3,), labels=("cat", "dog"))})


def tensor(array, name="OUT0"):
    return Tensor.from_array(name, np.asarray(array))


def encode(*outputs, encoding=None, **members):
    response = InferResponse("m", "1", outputs=list(outputs), **members)
    return encode_infer(response, encoding or ResponseEncoding(), LABELLED)


def test_a_json_answer_has_tritons_members_in_tritons_order():
    text, blobs = encode(tensor(np.array([[1, 4.5]], np.float32)), id="r1", parameters={"a": 1})
    assert text == (
        b'{"id":"r1","model_name":"m","model_version":"1","parameters":{"a":1},'
        b'"outputs":[{"name":"OUT0","datatype":"FP32","shape":[1,2],"data":[1.0,4.5]}]}'
    )
    assert blobs == []


def test_an_empty_id_is_left_out():
    assert encode()[0] == b'{"model_name":"m","model_version":"1","outputs":[]}'


def test_binary_outputs_follow_uncopied_in_order():
    first, second = np.array([1, 2], np.int32), np.array([b"ab"], np.object_)
    text, blobs = encode(tensor(first, "A"), tensor(second, "B"), encoding=ResponseEncoding(binary=True))
    assert [output["parameters"] for output in json.loads(text)["outputs"]] == [
        {"binary_data_size": 8},
        {"binary_data_size": 6},
    ]
    assert np.shares_memory(np.frombuffer(blobs[0], np.int32), first)
    assert bytes(blobs[1]) == b"\x02\0\0\0ab"


def test_only_requested_outputs_are_sent_each_in_its_form():
    encoding = ResponseEncoding(outputs={"B": OutputEncoding(binary=True), "A": OutputEncoding(binary=False)})
    text, blobs = encode(
        tensor(np.int8([1]), "A"), tensor(np.int8([2]), "B"), tensor(np.int8([3]), "C"), encoding=encoding
    )
    assert json.loads(text)["outputs"] == [
        {"name": "A", "datatype": "INT8", "shape": [1], "data": [1]},
        {"name": "B", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}},
    ]
    assert [bytes(blob) for blob in blobs] == [b"\2"]


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
def test_every_numeric_datatype_has_a_json_form(dtype):
    data = json.loads(encode(tensor(np.array([[0, 1]], dtype)))[0])["outputs"][0]["data"]
    assert data == [0, 1]


def test_an_array_that_is_not_contiguous_is_written_row_by_row():
    text, _ = encode(tensor(np.arange(6).reshape(2, 3).T))
    assert json.loads(text)["outputs"][0]["data"] == [0, 3, 1, 4, 2, 5]


def test_not_a_number_and_infinity_stay_readable_for_python():
    text, _ = encode(tensor(np.array([np.nan, np.inf, -np.inf, 1e22])))
    assert b"[NaN,Infinity,-Infinity,1e+22]" in text
    data = json.loads(text)["outputs"][0]["data"]
    assert math.isnan(data[0])
    assert data[1:] == [math.inf, -math.inf, 1e22]


def test_strings_are_json_strings():
    text, _ = encode(tensor(np.array([[b"a", "\u00e9\u4e2d".encode(), b'q"\n\0']], np.object_)))
    assert json.loads(text)["outputs"][0]["data"] == ["a", "\u00e9\u4e2d", 'q"\n\0']


def test_strings_that_were_never_decoded_are_json_strings_too():
    text, _ = encode(Tensor("OUT0", "BYTES", (1,), raw=b"\1\0\0\0x"))
    assert json.loads(text)["outputs"][0]["data"] == ["x"]


def test_bytes_that_are_not_utf8_need_the_binary_form():
    with pytest.raises(SlipwayError, match="Please use the binary data format for output OUT0"):
        encode(tensor(np.array([b"\xff\xfe"], np.object_)))


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "FP16"), (ml_dtypes.bfloat16, "BF16")])
def test_half_floats_need_the_binary_form(dtype, name):
    with pytest.raises(SlipwayError, match=f"sending {name} data via JSON is not supported"):
        encode(tensor(np.array([1], dtype)))
    assert len(encode(tensor(np.array([1], dtype)), encoding=ResponseEncoding(binary=True))[1][0]) == 2


def test_the_top_classes_carry_the_labels_of_the_output():
    encoding = ResponseEncoding(outputs={"OUT0": OutputEncoding(binary=False, classes=2)})
    text, _ = encode(tensor(np.array([[1, 3, 2], [9, 8, 7]], np.float32)), encoding=encoding)
    assert json.loads(text)["outputs"] == [
        {
            "name": "OUT0",
            "datatype": "BYTES",
            "shape": [2, 2],
            "data": ["3.000000:1:dog", "2.000000:2", "9.000000:0:cat", "8.000000:1:dog"],
        }
    ]
