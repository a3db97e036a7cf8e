"""Round trips against NVIDIA's own client codecs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient import http

from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.datatypes import BY_NAME, datatype_of
from slipway.wire.encode import encode_infer
from slipway.wire.infer_request import decode_infer

MODEL = ModelSignature("m", 0, {}, {})
JSON_DATATYPES = [name for name in BY_NAME if name not in ("FP16", "BF16")]
DTYPES = [BY_NAME[name].numpy for name in JSON_DATATYPES if name != "BYTES"] + [np.dtype(np.float16)]

shapes = arrays.array_shapes(max_dims=4, max_side=4, min_side=0)
numeric = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, shapes))
strings = arrays.arrays(np.object_, shapes, elements=st.binary(max_size=20))


def answer(array, *, binary):
    """Send `array` through the client's encoder, our decoder and encoder, and the client's decoder."""
    datatype = datatype_of(array.dtype).name
    given_input = http.InferInput("IN0", list(array.shape), datatype)
    given_input.set_data_from_numpy(array, binary_data=binary)
    output = http.InferRequestedOutput("IN0", binary_data=binary)
    body, json_size = http.InferenceServerClient.generate_request_body([given_input], outputs=[output], request_id="r1")
    body = body if isinstance(body, bytes) else body.encode()
    request, encoding = decode_infer("m", "1", body, len(body) if json_size is None else json_size)
    assert request.inputs["IN0"].shape == array.shape
    text, blobs = encode_infer(InferResponse("m", "1", request.id, list(request.inputs.values())), encoding, MODEL)
    result = http.InferenceServerClient.parse_response_body(
        b"".join([text, *blobs]), header_length=len(text) if blobs else None
    )
    assert result.get_response()["id"] == "r1"
    return result.as_numpy("IN0")


@given(numeric)
def test_binary_tensors_survive_bit_by_bit(array):
    assert answer(array, binary=True).tobytes() == array.tobytes()


@given(strings)
def test_binary_strings_survive(array):
    np.testing.assert_array_equal(answer(array, binary=True), array)


@given(numeric.filter(lambda array: array.dtype != np.float16))
def test_json_tensors_survive(array):
    np.testing.assert_array_equal(answer(array, binary=False), array)


@given(arrays.arrays(np.object_, shapes, elements=st.text(st.characters(exclude_categories=("Cs",)), max_size=20)))
def test_json_strings_survive(array):
    expected = np.array([text.encode() for text in array.ravel()], np.object_).reshape(array.shape)
    found = answer(array, binary=False)
    assert [str(one).encode() if isinstance(one, str) else one for one in found.ravel()] == expected.ravel().tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_an_empty_tensor_survives(binary):
    assert answer(np.zeros((0, 3), np.float32), binary=binary).shape == (0, 3)
