"""JSON values become tensors: axes that may be left out, texts, bytes, and what is refused."""

from __future__ import annotations

import struct
import tracemalloc
from base64 import b64encode

import numpy as np
import pytest

from slipway.core.bytes_codec import decode_bytes
from slipway.datatypes import BY_NAME
from slipway.proxy.description import TensorDescription
from slipway.proxy.failures import RefusedBody
from slipway.proxy.inputs import encode_input


def tensor(datatype: str, *shape: int) -> TensorDescription:
    return TensorDescription("x", BY_NAME[datatype], shape)


def encode(given: TensorDescription, value: object):
    return encode_input(given, value, all_problems=True)


def refusal(given: TensorDescription, value: object) -> list[dict[str, object]]:
    with pytest.raises(RefusedBody) as caught:
        encode(given, value)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        ((2,), [1, 1], [2]),
        ((2,), [1, 1, 1], [3]),  # the server knows which sizes it takes
        ((-1, -1), [1, 2, 3], [1, 3]),
        ((-1, -1), [[1, 2], [3, 4], [5, 6]], [3, 2]),
        ((-1, -1), 7, [1, 1]),
        ((-1, 1), 7, [1, 1]),
        ((-1, 1), [7, 8], [2, 1]),
        ((-1, 1), [[7], [8]], [2, 1]),
        ((-1, 2, 2), [[1, 2], [3, 4]], [1, 2, 2]),
        ((-1, 1, 1), [1, 2], [2, 1, 1]),
        ((-1, 2, 1), [1, 2], [1, 1, 2]),  # not all axes that are left out have size 1
        ((1,), 5, [1]),
        ((), 5, []),
        ((-1,), [], [0]),
    ],
)
def test_a_value_may_leave_out_axes_that_are_1(shape, value, expected):
    found, raw = encode(tensor("FP32", *shape), value)
    assert found == expected
    assert np.frombuffer(raw, np.float32).tolist() == np.ravel(value).tolist()


@pytest.mark.parametrize(("value", "shape"), [("a", [1, 1]), (["a", "b"], [2, 1]), ([["a"], ["b"]], [2, 1])])
def test_texts_are_rows(value, shape):
    found, raw = encode(tensor("BYTES", -1, 1), value)
    assert found == shape
    assert decode_bytes(raw) == [each.encode() for each in np.ravel(value)]


def test_a_list_of_texts_is_one_row_if_a_row_has_any_number():
    found, raw = encode(tensor("BYTES", -1, -1), ["a", ""])
    assert (found, decode_bytes(raw)) == ([1, 2], [b"a", b""])


def test_bytes_are_encoded_in_base64_beside_texts():
    image = bytes(range(256))
    value = [{"b64": b64encode(image).decode()}, "http://localhost/never-fetched"]
    found, raw = encode(tensor("BYTES", -1, 1), value)
    assert found == [2, 1]
    assert decode_bytes(raw) == [image, b"http://localhost/never-fetched"]


@pytest.mark.parametrize(
    ("datatype", "value", "packed"),
    [
        ("INT64", [-(2**63), 2**63 - 1], struct.pack("<qq", -(2**63), 2**63 - 1)),
        ("UINT64", [0, 2**64 - 1], struct.pack("<QQ", 0, 2**64 - 1)),
        ("INT8", [-128, 127], b"\x80\x7f"),
        ("BOOL", [True, False], b"\x01\x00"),
        ("FP16", [1.0, -2.0], struct.pack("<ee", 1, -2)),
        ("BF16", [1.0, -2.0], b"\x80\x3f\x00\xc0"),
        ("FP64", [0.1, 1e300], struct.pack("<dd", 0.1, 1e300)),
    ],
)
def test_numbers_have_the_bits_of_their_datatype(datatype, value, packed):
    assert encode(tensor(datatype, 2), value) == ([2], packed)


def test_a_tensor_of_numbers_may_come_as_its_bytes():
    array = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    value = {"b64": b64encode(array.tobytes()).decode()}
    assert encode(tensor("FP32", -1, 3, 4), value) == ([1, 3, 4], array.tobytes())
    assert encode(tensor("FP32", -1, -1, 4), value) == ([1, 3, 4], array.tobytes())


@pytest.mark.parametrize("value", [{"b64": "AAAA"}, {"b64": ""}, {"b64": "A" * 16}])
def test_bytes_that_do_not_fill_the_tensor_are_refused(value):
    (problem,) = refusal(tensor("FP32", -1, -1, -1) if len(value["b64"]) == 16 else tensor("FP32", 3), value)
    assert problem["type"] == "base64_size"


@pytest.mark.parametrize("value", [{"b64": "?"}, {"b64": 1}, {"b64": "A", "x": 1}, {"url": "http://localhost/x"}, {}])
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_an_object_that_is_not_bytes_in_base64_is_refused(datatype, value):
    kinds = {problem["type"] for problem in refusal(tensor(datatype, -1), value)}
    assert kinds <= {"base64", "string_type"}


@pytest.mark.parametrize(
    ("datatype", "value", "kind", "place"),
    [
        ("FP32", ["a", 1, "b"], "float_parsing", ["body", "x", 0]),
        ("FP32", None, "float_type", ["body", "x"]),
        ("INT32", [1, 1.5], "int_from_float", ["body", "x", 1]),
        ("INT32", [2**31], "less_than_equal", ["body", "x", 0]),
        ("UINT8", [-1], "greater_than_equal", ["body", "x", 0]),
        ("BOOL", ["perhaps"], "bool_parsing", ["body", "x", 0]),
        ("BYTES", ["a", 1], "string_type", ["body", "x", 1]),
        ("BYTES", [None], "string_type", ["body", "x", 0]),
        ("FP32", [1e39], "out_of_range", ["body", "x"]),
        ("FP16", [1e6], "out_of_range", ["body", "x"]),
        ("FP32", [[1.0]], "too_deep", ["body", "x"]),
    ],
)
def test_what_is_wrong_has_a_kind_and_a_place(datatype, value, kind, place):
    problem = refusal(tensor(datatype, -1), value)[0]
    assert (problem["type"], problem["loc"]) == (kind, place)


@pytest.mark.parametrize(("datatype", "value"), [("FP32", [[1, 2], [3]]), ("BYTES", [["a"], ["b", "c"]])])
def test_rows_of_different_lengths_are_refused(datatype, value):
    (problem,) = refusal(tensor(datatype, -1, -1), value)
    assert problem["type"] == "different_lengths"


def test_in_a_large_body_only_the_first_fault_of_a_list_is_reported():
    with pytest.raises(RefusedBody) as caught:
        encode_input(tensor("INT32", -1), ["a"] * 1000, all_problems=False)
    assert len(caught.value.problems) == 1
    assert len(refusal(tensor("INT32", -1), ["a"] * 1000)) == 1000


@pytest.mark.parametrize("datatype", ["INT8", "INT64", "UINT64", "FP16", "BF16", "FP32", "FP64", "BOOL"])
@pytest.mark.parametrize(
    "value",
    [
        [1, 0],
        [1.0, 0.0],
        [True, False],
        ["1", "0"],
        [1, True],
        [1, "0"],
        [127, -128],
        [2**63 - 1, 1],
        [2**63, 1],
        [0.1, 3],
    ],
    ids=str,
)
def test_what_numpy_reads_by_itself_is_what_pydantic_would_have_read(datatype, value, monkeypatch):
    def outcome() -> object:
        try:
            return encode(tensor(datatype, -1), value)
        except RefusedBody as refusal:
            return [(problem["type"], problem["loc"]) for problem in refusal.problems]

    fast = outcome()
    monkeypatch.setattr("slipway.proxy.inputs._plain_array", lambda *_: None)
    assert fast == outcome()


def test_numbers_that_json_cannot_write_may_be_texts():
    _, raw = encode(tensor("FP32", -1), ["nan", "-inf", 1])
    assert np.array_equal(np.frombuffer(raw, np.float32), np.float32([np.nan, -np.inf, 1]), equal_nan=True)


def test_texts_among_numbers_cost_no_more_memory_than_they_have():
    value: list[object] = [1, *[""] * 500, "x" * 100_000]
    tracemalloc.start()
    try:
        found = refusal(tensor("FP32", -1), value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 501
    assert peak < 10_000_000  # numpy's array of texts would take 200 MB


@pytest.mark.parametrize("value", [["1.5"], [["1.5"]], "1.5"])
def test_a_number_in_a_text_is_read(value):
    _, raw = encode(tensor("FP32", -1, -1), value)
    assert np.frombuffer(raw, np.float32).tolist() == [1.5]
