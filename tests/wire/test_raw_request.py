"""Raw binary requests: name, datatype and shape come from the model."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.core.signature import ModelSignature, TensorSpec
from slipway.errors import SlipwayError
from slipway.wire.raw_request import decode_raw

PREFIX = "[request id: <id_unknown>] "


def model(*dims, datatype="FP32", batch=0, inputs=1):
    specs = {f"IN{number}": TensorSpec(f"IN{number}", datatype, dims) for number in range(inputs)}
    return ModelSignature("m", batch, specs, {})


@pytest.mark.parametrize(
    ("signature", "shape"), [(model(-1), (4,)), (model(-1, 2), (2, 2)), (model(4), (4,)), (model(-1, batch=8), (1, 4))]
)
def test_the_variable_dimension_takes_what_is_there(signature, shape):
    body = np.arange(4, dtype=np.float32).tobytes()
    request, encoding = decode_raw("1", body, signature)
    assert request.inputs["IN0"].array.shape == shape
    assert request.inputs["IN0"].array.ravel().tolist() == [0, 1, 2, 3]
    assert encoding.binary


def test_a_string_is_the_whole_body():
    request, _ = decode_raw("", b"a\0b", model(1, datatype="BYTES", batch=4))
    assert request.inputs["IN0"].array.tolist() == [[b"a\0b"]]


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        (
            model(1, inputs=2),
            "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs in 'm' model configuration",
        ),
        (
            model(-1, -1),
            (
                "The shape of the raw input 'IN0' can not be deduced because there are more than one variable-sized "
                "dimension"
            ),
        ),
        (model(-1, datatype="BYTES"), "For BYTE datatype raw input 'IN0', the model must have input shape [1]"),
        (model(-1), "input byte size mismatch for input 'raw_input' for model 'm'. Expected 0, got 3"),
        (model(2), "input byte size mismatch for input 'raw_input' for model 'm'. Expected 8, got 3"),
    ],
)
def test_what_cannot_be_deduced_is_refused(signature, message):
    with pytest.raises(SlipwayError) as caught:
        decode_raw("", b"abc", signature)
    assert caught.value.message == PREFIX + message
