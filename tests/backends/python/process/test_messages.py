"""Messages between the server and its child processes say the same on both sides."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from slipway.backends.python.process import messages
from slipway.core.request import InferRequest, InferResponse, RequestForm
from slipway.core.tensor import Tensor
from slipway.errors import Code, FailureReason, SlipwayError


def blob_of(blobs):
    return memoryview(bytearray(b"".join(bytes(blob) for blob in blobs)))


def test_a_request_is_the_same_on_the_other_side():
    texts = np.array([b"a\0b", b""], dtype=object)
    request = InferRequest(
        "m",
        id="7",
        inputs={"x": Tensor.from_array("x", np.arange(4, dtype=np.int64)), "t": Tensor.from_array("t", texts)},
        outputs=("y",),
        parameters={"a": 1, "b": "two", "c": True, "d": 1.5},
        correlation_id="sequence",
        flags=3,
        timeout_us=9,
    )
    blobs = []
    encoded = messages.encode(messages.Execute(5, (messages.request_head(request, blobs),)))
    message = messages.decode_to_child(encoded)
    received = messages.BlobReader(blob_of(blobs)).request(message.requests[0])
    assert message.serial == 5
    assert received.inputs["x"].array.tolist() == [0, 1, 2, 3]
    assert received.inputs["t"].array.tolist() == [b"a\0b", b""]
    for field in ("id", "outputs", "parameters", "correlation_id", "flags", "timeout_us"):
        assert getattr(received, field) == getattr(request, field)
    assert {key: type(value) for key, value in received.parameters.items()} == {
        "a": int,
        "b": str,
        "c": bool,
        "d": float,
    }


def test_an_error_keeps_its_code_text_and_reason():
    error = SlipwayError(Code.UNAVAILABLE, "later", reason=FailureReason.REJECTED)
    head = messages.answer_head(InferResponse(error=error), [])
    received = messages.BlobReader(blob_of([])).answer(head).error
    assert (received.code, received.message, received.reason) == (error.code, error.message, error.reason)


def test_empty_and_intermediate_answers_stay_what_they_are():
    for answer in (InferResponse(empty=True), InferResponse(final=False, parameters={"n": 1})):
        received = messages.BlobReader(blob_of([])).answer(messages.answer_head(answer, []))
        assert (received.empty, received.final, received.parameters) == (answer.empty, answer.final, answer.parameters)


def test_a_message_for_the_other_side_is_not_taken():
    with pytest.raises(msgspec.ValidationError):
        messages.decode_to_child(messages.encode(messages.Loaded(None)))


def test_requests_of_one_form_are_encoded_as_any_others():
    form = RequestForm()

    def made(value, with_form):
        inputs = {"x": Tensor("x", "INT32", (1, 2), raw=np.full(2, value, np.int32).tobytes())}
        return InferRequest("m", inputs=inputs, form=form if with_form else None)

    def encoded(value, shape_of, *, with_form):
        blobs = []
        head = messages.request_head(made(value, with_form), blobs, shape_of)
        return messages.encode(head), b"".join(blobs)

    for shape_of in (None, None, lambda _: (2, 1), None):
        for value in (1, 2):
            assert encoded(value, shape_of, with_form=True) == encoded(value, shape_of, with_form=False)


class Interrupted:
    """A tensor while whose bytes are taken another thread may run."""

    name, datatype, shape = "x", "INT32", (1, 2)

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    @property
    def raw(self):
        self.meanwhile()
        return bytes(8)


def test_servers_in_one_process_encode_requests_of_one_form_at_the_same_time():
    form = RequestForm()

    def shape(shape_of, meanwhile=lambda: None):
        request = InferRequest("m", inputs={"x": Interrupted(meanwhile)}, form=form)
        return messages.request_head(request, [], shape_of).inputs[0].shape

    def flat(_):
        return (2,)

    def column(_):
        return (2, 1)

    assert shape(flat) == (2,)
    assert shape(flat, meanwhile=lambda: shape(column)) == (2,)
    assert shape(column) == (2, 1)
