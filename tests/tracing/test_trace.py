"""What a trace keeps of the tensors of its requests."""

from __future__ import annotations

import numpy as np

from slipway.core.large_work import LARGE_COUNT
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import MAX_TENSOR_BYTES, RequestTrace, TraceRoot


def traced():
    trace = RequestTrace(TraceRoot(TraceSetting(("TENSORS",), 1, -1, 0), None, None))
    trace.accepted(InferRequest("m"), 1, 0, is_ensemble=False, is_decoupled=False)
    return trace


def kept(trace):
    return [tensor.name for _, tensor in trace.tensors]


def test_of_one_trace_a_bounded_number_of_bytes_is_kept():
    trace = traced()
    sizes = {"small": 1, "half": MAX_TENSOR_BYTES // 2, "more": MAX_TENSOR_BYTES // 2, "late": 1}
    tensors = [Tensor.from_array(name, np.zeros(size, np.int8)) for name, size in sizes.items()]
    trace.responded(InferResponse(outputs=tensors))
    assert kept(trace) == ["small", "half"]


def test_strings_that_take_long_to_pack_are_not_packed_for_a_trace():
    trace = traced()
    few = Tensor.from_array("few", np.array([b"a", "b"], np.object_))
    many = Tensor.from_array("many", np.array([b""] * LARGE_COUNT + [b"x" * 5000], np.object_))
    trace.responded(InferResponse(outputs=[many, few]))
    assert (kept(trace), many.is_large_to_pack) == (["few"], True)
