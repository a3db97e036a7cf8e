"""Traces as Triton writes them: the same objects, tensors as its tools read them, and names that need quotes."""

from __future__ import annotations

import csv
import json

import ml_dtypes
import numpy as np
import pytest

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.tracing.exporting import triton_json as module
from slipway.tracing.exporting.messages import decode_traces
from slipway.tracing.exporting.triton_json import write_trace
from slipway.tracing.moments import HTTP_RECV_END, HTTP_RECV_START, HTTP_SEND_END, HTTP_SEND_START
from slipway.tracing.record import SIZE_BYTES, RequestRecord, TensorRecord, TraceRecord, encode_trace, pack_messages
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import MAX_MOMENTS, MAX_REQUESTS, MAX_TENSOR_BYTES, RequestTrace, TraceRoot


class Traced:
    """A trace of one setting; `roots` are those that are complete."""

    def __init__(self, *levels: str) -> None:
        self.roots: list[TraceRoot] = []
        setting = TraceSetting(levels, 1, -1, 0)
        self.trace = RequestTrace(TraceRoot(setting, None, self))

    def completed(self, root: TraceRoot) -> None:
        self.roots.append(root)

    def know(self, _: RequestTrace) -> None:
        raise AssertionError("no model asks for its reference")

    def objects(self) -> list[dict[str, object]]:
        (root,) = self.roots
        (message,) = pack_messages([encode_trace(root)])
        (record,) = decode_traces(message[SIZE_BYTES:])
        return json.loads(f"[{write_trace(record)}]")


def accept(trace: RequestTrace, model: str = "simple", request_id: str = "", **kind: bool) -> None:
    tensor = Tensor("IN", "FP32", (1, 2), raw=np.array([1, 0.1], np.float32).tobytes())
    request = InferRequest(model, id=request_id, inputs={"IN": tensor})
    trace.accepted(request, 3, 30, is_ensemble=kind.get("ensemble", False), is_decoupled=kind.get("decoupled", False))


def written(tensor: Tensor) -> str:
    """Return the data of a tensor in a trace."""
    record = TensorRecord("TENSOR_QUEUE_INPUT", tensor.name, tensor.datatype, tensor.shape, bytes(tensor.raw))
    request = RequestRecord(1, 0, "", "", 0, "", "", False, 0, [], [record])
    return json.loads(write_trace(TraceRecord([request], 1)))["tensor"]["data"]


def names(objects: list[dict[str, object]], number: int) -> list[str]:
    stamps = [each["timestamps"] for each in objects if each["id"] == number and "timestamps" in each]
    return [moment["name"] for (moment,) in stamps]


def test_a_request_has_a_record_and_an_object_for_each_moment():
    traced = Traced("TIMESTAMPS")
    trace = traced.trace
    trace.stamp(HTTP_RECV_START, 10)
    trace.stamp(HTTP_RECV_END, 20)
    accept(trace, 'a"b', 'x"\n%d')
    trace.executed(Timing(40, 50, 60, 70))
    trace.responded(InferResponse())
    trace.stamp(HTTP_SEND_START, 80)
    trace.ended(1)
    assert traced.roots == []
    trace.stamp(HTTP_SEND_END, 90)
    trace.root.close()
    objects = traced.objects()
    number = trace.number
    assert objects[:3] == [
        {"id": number, "timestamps": [{"name": "HTTP_RECV_START", "ns": 10}]},
        {"id": number, "timestamps": [{"name": "HTTP_RECV_END", "ns": 20}]},
        {"id": number, "model_name": 'a"b', "model_version": 3, "request_id": 'x"\n%d'},
    ]
    assert names(objects, number) == [
        "HTTP_RECV_START", "HTTP_RECV_END", "REQUEST_START", "QUEUE_START",
        "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END",
        "INFER_RESPONSE_COMPLETE", "REQUEST_END", "HTTP_SEND_START", "HTTP_SEND_END",
    ]  # fmt: skip
    assert {"id": number, "timestamps": [{"name": "COMPUTE_OUTPUT_START", "ns": 60}]} in objects


def test_steps_of_an_ensemble_name_their_parent_and_the_ensemble_computes_nothing():
    traced = Traced("TIMESTAMPS")
    accept(traced.trace, "ensemble", ensemble=True)
    step = traced.trace.child()
    accept(step, "step")
    step.executed(Timing(40, 50, 60, 70))
    step.responded(InferResponse())
    step.ended(1)
    traced.trace.executed(Timing(40, 50, 60, 70))
    traced.trace.responded(InferResponse())
    traced.trace.ended(1)
    traced.trace.root.close()
    objects = traced.objects()
    records = [each for each in objects if "model_name" in each]
    assert records == [
        {"id": traced.trace.number, "model_name": "ensemble", "model_version": 3},
        {"id": step.number, "model_name": "step", "model_version": 3, "parent_id": traced.trace.number},
    ]
    assert "COMPUTE_START" not in names(objects, traced.trace.number)
    assert names(objects, step.number)[-1] == "REQUEST_END"
    assert "INFER_RESPONSE_COMPLETE" not in names(objects, step.number)


def test_a_request_that_no_model_accepted_has_only_moments_of_the_front():
    traced = Traced("TIMESTAMPS", "TENSORS")
    traced.trace.stamp(HTTP_RECV_START, 10)
    traced.trace.error = "no"
    traced.trace.root.close()
    assert traced.objects() == [{"id": traced.trace.number, "timestamps": [{"name": "HTTP_RECV_START", "ns": 10}]}]


def test_tensors_are_traced_on_both_sides_of_the_model():
    traced = Traced("TENSORS")
    accept(traced.trace)
    traced.trace.responded(InferResponse(outputs=[Tensor("OUT", "INT8", (2,), raw=b"\xff\x02")]))
    traced.trace.ended(1)
    traced.trace.root.close()
    number = traced.trace.number
    assert traced.objects() == [
        {"id": number, "model_name": "simple", "model_version": 3},
        {
            "id": number,
            "activity": "TENSOR_QUEUE_INPUT",
            "tensor": {"name": "IN", "data": "1.0,0.1", "shape": "1,2", "dtype": "FP32"},
        },
        {
            "id": number,
            "activity": "TENSOR_BACKEND_OUTPUT",
            "tensor": {"name": "OUT", "data": "-1,2", "shape": "2", "dtype": "INT8"},
        },
    ]


def test_the_outputs_of_a_failure_are_not_traced():
    traced = Traced("TENSORS")
    accept(traced.trace)
    traced.trace.responded(InferResponse(error=invalid("no")))
    assert [activity for activity, _ in traced.trace.tensors] == ["TENSOR_QUEUE_INPUT"]
    assert traced.trace.error == "no"


@pytest.mark.parametrize(
    ("datatype", "array", "data"),
    [
        ("BOOL", np.array([True, False]), "1,0"),
        ("UINT8", np.array([65, 255], np.uint8), "65,255"),
        ("INT64", np.array([-(2**63), 2**63 - 1]), "-9223372036854775808,9223372036854775807"),
        ("UINT64", np.array([2**64 - 1], np.uint64), "18446744073709551615"),
        ("FP16", np.array([0.5, 65504], np.float16), "0.5,65504.0"),
        ("BF16", np.array([0.5, 2], ml_dtypes.bfloat16), "0.5,2.0"),
        ("FP32", np.array([0.1, -0.0], np.float32), "0.1,-0.0"),
        ("FP64", np.array([0.1, np.nan, -np.inf]), "0.1,nan,-inf"),
        ("FP32", np.array([], np.float32), ""),
    ],
)
def test_numbers_are_written_so_that_they_can_be_read_back(datatype, array, data):
    assert written(Tensor("T", datatype, array.shape, raw=array.tobytes())) == data
    assert [float(part) for part in data.split(",") if part] == pytest.approx(array.astype(float), nan_ok=True)


def test_strings_are_quoted_as_in_csv():
    strings = np.array([b'say "hi"', b"a,b", b"\xff"], object)
    data = written(Tensor.from_array("T", strings))
    assert next(csv.reader([data], skipinitialspace=True)) == ['say "hi"', "a,b", "\\xff"]


def test_half_a_character_of_a_models_making_costs_only_that_character():
    traced = Traced("TIMESTAMPS")
    accept(traced.trace, request_id="a\ud800b")
    traced.trace.responded(InferResponse())
    traced.trace.ended(1)
    traced.trace.root.close()
    assert traced.objects()[0]["request_id"] == "a?b"


def test_what_grows_with_responses_executions_children_and_tensors_is_bounded():
    traced = Traced("TIMESTAMPS", "TENSORS")
    trace = traced.trace
    accept(trace, decoupled=True)
    large = Tensor("T", "UINT8", (MAX_TENSOR_BYTES,), raw=bytes(MAX_TENSOR_BYTES))
    for _ in range(MAX_MOMENTS):
        trace.responded(InferResponse(outputs=[large], final=False))
        trace.stamp(HTTP_SEND_START, 1)
        trace.executed(Timing(40, 50, 60, 70))  # as of an iterative sequence
    assert MAX_MOMENTS <= len(trace.moments) < MAX_MOMENTS + 8
    assert len(trace.tensors) == 1
    children = [trace.child() for _ in range(MAX_REQUESTS)]
    assert children.count(None) == 1


def test_the_first_execution_is_noted_even_after_many_responses():
    traced = Traced("TIMESTAMPS")
    trace = traced.trace
    accept(trace, decoupled=True)
    for _ in range(MAX_MOMENTS):
        trace.responded(InferResponse(final=False))
    noted = len(trace.moments)
    trace.executed(Timing(1, 2, 3, 4))
    trace.executed(Timing(5, 6, 7, 8))
    assert len(trace.moments) == noted + 8


def test_the_forms_of_long_streams_are_not_kept():
    module._form.cache_clear()
    for count in (4, 400):
        request = RequestRecord(1, 0, "", "m", 1, "", "", True, count, [HTTP_SEND_START, 7] * count, [])
        assert len(json.loads(f"[{write_trace(TraceRecord([request], 1))}]")) == count
    assert module._form.cache_info().currsize == 1
