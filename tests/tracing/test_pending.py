"""A traced request with one response: its trace has every moment once, and ends with the execution."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.tracing.moments import NAMES
from slipway.tracing.pending import TracedPending
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceRoot

TIMING = Timing(1, 2, 3, 4)
EXECUTION = ["COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"]
RESPONSE = ["INFER_RESPONSE_COMPLETE", "REQUEST_END"]


class Loop:
    def call_soon_threadsafe(self, callback, *args):
        callback(*args)


class Owner:
    """Counts the complete traces."""

    def __init__(self) -> None:
        self.count = 0

    def completed(self, _: TraceRoot) -> None:
        self.count += 1

    def know(self, trace: RequestTrace) -> None:
        raise AssertionError(trace)


class Traced:
    """A request whose front has ended its part; `seen` are the responses that the front got."""

    def __init__(self, front=None, *, levels=("TIMESTAMPS",), parent: int = 0) -> None:
        self.owner = Owner()
        self.seen: list[InferResponse] = []
        self.trace = RequestTrace(TraceRoot(TraceSetting(levels, 1, -1, 0), None, self.owner), parent)
        self.trace.accepted(InferRequest("m"), 1, 0, is_ensemble=False, is_decoupled=False)
        self.trace.root.close()
        self.pending = TracedPending(InferRequest("m"), 1, 0, Loop(), front or self.seen.append, self.trace)

    def ends(self) -> tuple[list[str], int]:
        """Return the moments after the request was accepted, and how often its trace was complete."""
        return [NAMES[moment] for moment in self.trace.moments[4::2]], self.owner.count


def executing(pending: Pending, _: InferResponse) -> None:
    """What a scheduler's `observe` stands for: the request is being executed."""


def test_the_response_ends_the_trace_once():
    traced = Traced()
    traced.pending.timing = TIMING
    traced.pending.deliver(InferResponse())
    traced.pending.deliver(InferResponse())
    assert traced.ends() == ([*EXECUTION, *RESPONSE], 1)
    assert len(traced.seen) == 1


def test_a_request_of_another_one_has_no_response_of_its_own():
    traced = Traced(parent=7)
    traced.pending.timing = TIMING
    traced.pending.deliver(InferResponse())
    assert traced.ends() == ([*EXECUTION, "REQUEST_END"], 1)


def test_a_model_that_answers_early_ends_with_its_execution():
    traced = Traced()
    traced.pending.observe = executing
    traced.pending.deliver(InferResponse())
    assert traced.ends() == (RESPONSE, 0)
    traced.pending.timing = TIMING
    traced.pending.executed()
    assert traced.ends() == ([*RESPONSE, *EXECUTION], 1)


def test_a_request_that_is_not_executed_has_no_times_of_an_execution():
    traced = Traced()
    traced.pending.observe = None  # as `Completion.refuse` does
    traced.pending.deliver(InferResponse(error=invalid("no")))
    assert traced.ends() == (RESPONSE, 1)
    assert traced.trace.error == "no"


def test_a_request_that_a_scheduler_refuses_ends_without_a_response():
    traced = Traced()
    traced.pending.refused(invalid("full"))
    assert traced.ends() == (RESPONSE, 1)
    assert (traced.trace.error, traced.seen) == ("full", [])


def test_a_front_that_fails_does_not_keep_the_trace_open():
    def fail(response: InferResponse) -> None:
        raise OSError("broken")

    traced = Traced(fail)
    traced.pending.timing = TIMING
    with pytest.raises(OSError, match="broken"):
        traced.pending.deliver(InferResponse())
    assert traced.ends() == ([*EXECUTION, *RESPONSE], 1)


def test_outputs_are_kept_if_tensors_are_traced():
    traced = Traced(levels=("TENSORS",))
    traced.pending.timing = TIMING
    traced.pending.deliver(InferResponse(outputs=[Tensor.from_array("OUT", np.ones(2, np.float32))]))
    assert [(activity, tensor.name) for activity, tensor in traced.trace.tensors] == [("TENSOR_BACKEND_OUTPUT", "OUT")]


def test_an_answered_request_is_in_no_cycle_of_references():
    gc.disable()
    try:
        traced = Traced()
        held = np.zeros(1)
        traced.pending.request.inputs["x"] = Tensor.from_array("x", held)
        array = weakref.ref(held)
        del held
        traced.pending.deliver(InferResponse())
        del traced
        assert array() is None
    finally:
        gc.enable()
