"""What is written to a cache outside the process comes back equal, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.tensor import Tensor
from slipway.response_cache.codec import decode_response, encode_response
from slipway.response_cache.stored import StoredResponse

STORED = StoredResponse.of(
    [
        Tensor.from_array("A", np.array([[1.5, -2.0]], np.float32)),
        Tensor.from_array("S", np.array([b"x", b"", b"yz"], np.object_)),
        Tensor.from_array("E", np.zeros((0, 3), np.int64)),
        Tensor("B", "BF16", (2,), raw=b"\1\2\3\4"),
    ],
    {"text": "\ud800é", "number": 3, "share": 0.5, "yes": True},
)
ENCODED = bytes(encode_response(STORED))


def test_a_response_comes_back_equal():
    found = decode_response(ENCODED)
    assert found.parameters == STORED.parameters
    assert [type(value) for _, value in found.parameters] == [str, int, float, bool]
    assert found.size == STORED.size
    for ours, theirs in zip(found.outputs(), STORED.outputs(), strict=True):
        assert (ours.name, ours.datatype, ours.shape) == (theirs.name, theirs.datatype, theirs.shape)
        assert bytes(ours.raw) == bytes(theirs.raw)


def test_a_large_tensor_comes_back_whole():
    stored = StoredResponse.of([Tensor.from_array("A", np.arange(700_000, dtype=np.int32))], {})
    (found,) = decode_response(bytes(encode_response(stored))).outputs()
    np.testing.assert_array_equal(found.array, np.arange(700_000))


def test_a_value_that_is_cut_anywhere_is_refused():
    for length in range(len(ENCODED)):
        with pytest.raises(ValueError, match=r"it |tensor|Expecting|Unterminated|decode"):
            decode_response(ENCODED[:length])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"SLR1", b"SLR2"),
        (b'"FP32"', b'"FP33"'),
        (b'"FP32", [1, 2]', b'"FP32", [1, 3]'),
        (b'"FP32", [1, 2]', b'"FP32", [-1,2]'),
        (b'"FP32", [1, 2]', b'"FP32", "1234"'),
        (b'"BYTES", [3]', b'"BYTES", [4]'),
        (b'"tensors"', b'"tensoren'),
        (b'"number", 3', b'"number",[]'),
        (b"\1\0\0\0x", b"\2\0\0\0x"),
    ],
)
def test_a_value_of_something_else_is_refused(old, new):
    assert old in ENCODED
    with pytest.raises(ValueError, match=r"it |tensor|parameter|Expecting"):
        decode_response(ENCODED.replace(old, new, 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(junk):
    for value in (junk, ENCODED[:8] + junk, ENCODED + junk):
        try:
            decode_response(value)
        except ValueError:
            continue
        assert value == ENCODED
