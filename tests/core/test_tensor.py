"""A tensor has two forms; each is made from the other on first use."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slipway.core.bytes_codec import TruncatedElementError, count_elements, decode_bytes, encode_bytes
from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.core.tensor import CountedTensor, Tensor
from slipway.datatypes import BY_NAME, datatype_of
from slipway.errors import SlipwayError

NUMERIC = [row for row in BY_NAME.values() if row.size]


@given(data=st.data())
@pytest.mark.parametrize("row", [row for row in NUMERIC if row.name != "BF16"], ids=lambda row: row.name)
def test_numeric_arrays_survive_the_wire_form(row, data):
    array = data.draw(hnp.arrays(row.numpy, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    sent = Tensor.from_array("x", array)
    received = Tensor("x", row.name, sent.shape, raw=bytes(sent.raw))
    assert received.array.tobytes() == array.tobytes()
    assert received.array.shape == array.shape


def test_bf16_is_the_upper_half_of_fp32():
    array = np.array([1.0, -2.5], dtype=ml_dtypes.bfloat16)
    assert bytes(Tensor.from_array("x", array).raw) == b"\x80\x3f\x20\xc0"


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_bytes_survive_the_wire_form(elements):
    raw = encode_bytes(elements)
    assert decode_bytes(raw) == elements
    assert count_elements(raw) == len(elements)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_a_cut_bytes_buffer_is_refused_and_never_read_past_its_end(elements, data):
    raw = encode_bytes(elements)
    ends = {0}
    for element in elements:
        ends.add(max(ends) + 4 + len(element))
    cut = data.draw(st.integers(0, len(raw)).filter(lambda size: size not in ends))
    for read in (decode_bytes, count_elements):
        with pytest.raises(TruncatedElementError):
            read(raw[:cut])


def test_a_lying_length_prefix_is_refused():
    for read in (decode_bytes, count_elements):
        with pytest.raises(TruncatedElementError):
            read(b"\xff\xff\xff\xffabc")


def test_text_is_encoded_as_utf8():
    tensor = Tensor.from_array("x", np.array(["grüß", b"\x00\xff", "ok"], dtype=object))
    assert decode_bytes(tensor.raw) == ["grüß".encode(), b"\x00\xff", b"ok"]
    assert tensor.datatype == "BYTES"


@given(st.lists(st.binary(max_size=20) | st.text(max_size=20), max_size=20))
def test_the_measured_size_of_strings_is_that_of_their_wire_form(elements):
    array = np.empty(len(elements), object)
    array[:] = elements
    tensor = Tensor.from_array("x", array)
    least, size = tensor.byte_size, tensor.measure()
    assert least <= size
    assert size == len(tensor.raw) == tensor.byte_size


class Watched(str):
    """A text that counts how often its length is asked for."""

    __slots__ = ()
    asked = 0

    def __len__(self):
        Watched.asked += 1
        return super().__len__()


def test_the_size_of_many_strings_is_known_without_a_look_at_each():
    tensor = Tensor.from_array("x", np.array([Watched("x")] * (10 * LARGE_COUNT), object))
    Watched.asked = 0
    assert tensor.byte_size == (4 * 10 + 1) * LARGE_COUNT
    assert Watched.asked == LARGE_COUNT


@pytest.mark.parametrize(
    ("count", "element", "large"),
    [
        (3, b"abc", False),
        (10, "x" * (4 << 20), True),
        (1, b"x" * (LARGE + 1), True),
        (LARGE_COUNT + 1, b"", True),
    ],
)
def test_many_strings_and_long_ones_are_large_to_pack(count, element, large):
    assert Tensor.from_array("x", np.full(count, element, object)).is_large_to_pack is large


def test_received_arrays_are_views_and_read_only():
    body = bytearray(np.arange(4, dtype=np.float32).tobytes())
    array = Tensor("x", "FP32", (4,), raw=memoryview(body).toreadonly()).array
    body[:4] = np.float32(9).tobytes()
    assert array[0] == 9
    assert not array.flags.writeable


def test_strided_outputs_are_sent_row_by_row():
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert bytes(Tensor.from_array("x", array).raw) == np.ascontiguousarray(array).tobytes()


def test_renaming_and_reshaping_keep_the_data():
    tensor = Tensor("x", "INT8", (4,), raw=b"\x01\x02\x03\x04")
    assert tensor.renamed("y").reshaped((2, 2)).array.tolist() == [[1, 2], [3, 4]]
    assert tensor.array.tolist() == [1, 2, 3, 4]


def test_renaming_and_reshaping_keep_the_count():
    tensor = CountedTensor.of(Tensor("x", "BYTES", (2,), raw=encode_bytes([b"a", b"bc"])))
    for decode in (False, True):
        if decode:
            assert tensor.array.size == 2
        other = tensor.renamed("y").reshaped((2, 1))
        assert isinstance(other, CountedTensor)
        assert (other.name, other.shape, other.elements, other.is_decoded) == ("y", (2, 1), 2, decode)
        assert other.array.tolist() == [[b"a"], [b"bc"]]


def test_a_dtype_without_a_protocol_name_is_refused():
    assert datatype_of(np.dtype(np.complex64)) is None
    with pytest.raises(SlipwayError, match="complex64"):
        Tensor.from_array("x", np.zeros(1, np.complex64))
