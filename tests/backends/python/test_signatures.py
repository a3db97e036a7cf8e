"""Wrong arguments are refused with pybind11's text, which lists what would have been right."""

from __future__ import annotations

import re

import numpy as np
import pytest

from slipway.backends.python.constants import MemoryType, PreferredMemory
from slipway.backends.python.errors import ErrorCode, TritonError
from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.signatures import UINT32, Signature, StubParameter, an, real, sequence_of, text, truth
from slipway.backends.python.tensor import ModelTensor

TENSOR = ModelTensor("x", np.zeros(1, np.float32))
HEAD = "incompatible constructor arguments. The following argument types are supported:"
REFUSED = {
    "no arguments": (
        ModelTensor,
        f"__init__(): {HEAD}\n    1. c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)\n\nInvoked with: ",
    ),
    "names that are not there": (
        lambda: ModelTensor("x", array=np.zeros(1)),
        (
            f"__init__(): {HEAD}\n    1. c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)\n\n"
            "Invoked with: 'x'; kwargs: array=array([0.])"
        ),
    ),
    "a wrong type": (
        lambda: TritonError(3, ErrorCode.NOT_FOUND),
        (
            f"__init__(): {HEAD}\n    1. c_python_backend_utils.TritonError(message: str, code: "
            "c_python_backend_utils.TritonError.__ErrorCode = <__ErrorCode.INTERNAL: 1>)\n\n"
            "Invoked with: 3, <__ErrorCode.NOT_FOUND: 2>"
        ),
    ),
    "a number for an enum": (
        lambda: PreferredMemory(1),
        (
            f"__init__(): {HEAD}\n    1. c_python_backend_utils.PreferredMemory(preferred_memory_type: "
            "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)\n\nInvoked with: 1"
        ),
    ),
    "an object of ours": (
        lambda: InferenceResponse(TENSOR),
        (
            f"__init__(): {HEAD}\n    1. c_python_backend_utils.InferenceResponse(output_tensors: "
            "List[c_python_backend_utils.Tensor] = [], error: c_python_backend_utils.TritonError = None, parameters: "
            "object = None)\n\nInvoked with: <c_python_backend_utils.Tensor object at 0x0>"
        ),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_text_lists_what_is_supported_and_what_was_given(kind):
    call, expected = REFUSED[kind]
    with pytest.raises(TypeError) as caught:
        call()
    assert re.sub(r"0x[0-9a-f]+", "0x0", str(caught.value)) == expected


def test_a_request_takes_its_arguments_by_name_or_position():
    made = InferenceRequest("id", 1, [TENSOR], ["OUT"], "m", 2, 3, 4)
    assert (made.request_id(), made.correlation_id(), made.flags(), made.timeout()) == ("id", 1, 3, 4)
    assert made.requested_output_names() == {"OUT"}
    assert InferenceRequest(model_name=b"m", requested_output_names=(), inputs=(TENSOR,)).inputs() == [TENSOR]


@pytest.mark.parametrize("correlation_id", [-1, 2**64])
def test_a_correlation_id_outside_64_bits_cannot_be_sent(correlation_id):
    with pytest.raises(RuntimeError, match="Unable to cast Python instance"):
        InferenceRequest(model_name="m", requested_output_names=[], inputs=[TENSOR], correlation_id=correlation_id)


def test_what_has_a_default_may_be_left_out_and_is_not_checked():
    signature = Signature("f", "(a: int, b: str = None)", StubParameter("a", UINT32), StubParameter("b", text, None))
    assert signature.bind((), (1,), {}) == [1, None]
    assert signature.bind((), (), {"b": "x", "a": 2}) == [2, "x"]
    for given, named in (((), {}), ((1, "x", 2), {}), ((1,), {"a": 1}), ((1,), {"c": 1}), ((-1,), {}), ((2**32,), {})):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            signature.bind((), given, named)


def test_values_are_accepted_as_by_pybind11():
    assert [truth(value) for value in (True, 0, np.bool_(1), None, "x")] == [True, True, True, False, False]
    assert [real(value) for value in (1, 1.5, np.float32(2), "1", None)] == [True, True, True, False, False]
    names = sequence_of(text)
    assert [names(value) for value in (["a"], ("a", b"b"), np.array(["a"]), [])] == [True] * 4
    assert [names(value) for value in ("a", {"a"}, {"a": 1}, [1], None, iter("a"))] == [False] * 6
    assert an(MemoryType)(MemoryType.TRITONSERVER_MEMORY_CPU)
