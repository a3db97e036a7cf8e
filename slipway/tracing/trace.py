"""What is recorded of one traced request while it runs: moments, tensors, and the requests that it leads to.

Runs on the event-loop thread and costs little: what is recorded is written down afterwards (`record.py`,
`exporting/`). A trace is complete when the front has answered and every request in it has ended. All that clients
and models can make grow is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from time import monotonic_ns
from typing import Final, Protocol

import msgspec

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor, UnreadTensor
from slipway.core.trace import TraceReference
from slipway.tracing.context import RemoteContext, new_span_id, new_trace_id, write_context
from slipway.tracing.moments import (
    COMPUTE_END,
    COMPUTE_INPUT_END,
    COMPUTE_OUTPUT_START,
    COMPUTE_START,
    INFER_RESPONSE_COMPLETE,
    QUEUE_START,
    REQUEST_END,
    REQUEST_START,
)
from slipway.tracing.settings import TraceSetting

MAX_MOMENTS: Final = 4096  # names and times of one request: responses and executions may be many
MAX_REQUESTS: Final = 1024  # in one trace
MAX_TENSOR_BYTES: Final = 16 << 20  # in one trace
_NUMBERS: Final = count(1)  # 0 means no parent


class TraceContext:
    """The part of a trace that belongs to OpenTelemetry: its id, the span of the client (0: none) and of the front."""

    __slots__ = ("remote_span_id", "span_id", "state", "trace_id")

    def __init__(self, remote: RemoteContext | None) -> None:
        self.trace_id = new_trace_id() if remote is None else remote.trace_id
        self.remote_span_id = 0 if remote is None else remote.span_id
        self.state = "" if remote is None else remote.state
        self.span_id = new_span_id()


class Traces(Protocol):
    """The owner of all traces."""

    def completed(self, root: TraceRoot) -> None:
        """Take a trace in which nothing is open any more."""

    def know(self, trace: RequestTrace) -> None:
        """Let a request's trace be found by its number, as long as it lives."""


# Structs of msgspec, which are made in a third of the time of other objects: two for each traced request.


class TraceRoot(msgspec.Struct, eq=False):
    """What the requests of one trace share: its setting, its requests in order, and how many parts are still open."""

    setting: TraceSetting
    context: TraceContext | None
    owner: Traces
    requests: list[RequestTrace] = []
    open: int = 1  # the front
    tensor_bytes: int = 0

    def close(self) -> None:
        """Note that a part has ended."""
        self.open -= 1
        if not self.open:
            self.owner.completed(self)


class RequestTrace(msgspec.Struct, eq=False, weakref=True):
    """The trace of one request. Implements `core.trace.Trace` and `core.watched.Watcher`.

    `moments` alternates moments (`moments.py`) and their times in monotonic nanoseconds; `model` is "" until a model
    has accepted the request; `tensors` are copies, with their activity.
    """

    root: TraceRoot
    parent: int = 0
    moments: list[int] = []
    number: int = msgspec.field(default_factory=_NUMBERS.__next__)
    span_id: int = 0
    model: str = ""
    version: int = 0
    request_id: str = ""
    is_ensemble: bool = False
    is_decoupled: bool = False
    was_executed: bool = False
    error: str = ""
    responses: int = 0
    tensors: tuple[tuple[str, Tensor], ...] = ()

    def __post_init__(self) -> None:
        """Take a place among the requests of the trace."""
        root = self.root
        if root.context is not None:
            self.span_id = new_span_id()
        root.requests.append(self)

    # `core.trace.Trace`

    def child(self) -> RequestTrace | None:
        """Return the trace of a request that this one leads to; None if the trace already has too many."""
        root = self.root
        return RequestTrace(root, self.number) if len(root.requests) < MAX_REQUESTS else None

    def reference(self) -> TraceReference:
        """Return the number of this trace, by which it is found, and its context."""
        self.root.owner.know(self)
        context = self.root.context
        text = "" if context is None else write_context(context.trace_id, self.span_id, context.state)
        return TraceReference(self.number, text)

    # Of the request

    def accepted(
        self, request: InferRequest, version: int, arrival_ns: int, is_ensemble: bool, is_decoupled: bool
    ) -> None:
        """Note that a model accepted the request at `arrival_ns` and passes it to its scheduler now."""
        self.model = request.model_name
        self.version = version
        self.request_id = request.id
        self.is_ensemble = is_ensemble
        self.is_decoupled = is_decoupled
        self.moments += (REQUEST_START, arrival_ns, QUEUE_START, monotonic_ns())
        root = self.root
        root.open += 1
        if root.setting.with_tensors:
            self.received(tensor for tensor in request.inputs.values() if not isinstance(tensor, UnreadTensor))

    def received(self, inputs: Iterable[Tensor]) -> None:
        """Note inputs of the request. Those in shared memory follow once they have been read."""
        if self.root.setting.with_tensors:
            self._keep("TENSOR_QUEUE_INPUT", inputs)

    def executed(self, timing: Timing) -> None:
        """Note the times of the execution; an ensemble executes nothing itself, and the response cache neither. A
        request of an iterative sequence may be executed any number of times."""
        if self.is_ensemble or timing.end <= timing.start:
            return
        if not self.was_executed or len(self.moments) < MAX_MOMENTS:
            self.was_executed = True
            self.moments += (
                COMPUTE_START, timing.start, COMPUTE_INPUT_END, timing.input_end,
                COMPUTE_OUTPUT_START, timing.output_start, COMPUTE_END, timing.end,
            )  # fmt: skip

    def responded(self, response: InferResponse) -> None:
        """Note a response."""
        now = monotonic_ns()
        if response.final and not self.parent:
            self.moments += (INFER_RESPONSE_COMPLETE, now, REQUEST_END, now)
        elif response.final:
            self.moments += (REQUEST_END, now)
        elif len(self.moments) < MAX_MOMENTS:
            self.moments += (INFER_RESPONSE_COMPLETE, now)
        if response.error is not None:
            self.error = response.error.message
        elif response.outputs and self.root.setting.with_tensors:
            self._keep("TENSOR_BACKEND_OUTPUT", response.outputs)

    def answered(self, response: InferResponse, timing: Timing | None) -> None:
        """Note the only response of a request, the times of its execution, if it was executed, and its end."""
        now = monotonic_ns()
        if timing is not None and timing.end > timing.start and not (self.is_ensemble or self.parent):
            self.moments += (
                COMPUTE_START, timing.start, COMPUTE_INPUT_END, timing.input_end,
                COMPUTE_OUTPUT_START, timing.output_start, COMPUTE_END, timing.end,
                INFER_RESPONSE_COMPLETE, now, REQUEST_END, now,
            )  # fmt: skip
        else:
            if timing is not None:
                self.executed(timing)
            self.moments += (REQUEST_END, now) if self.parent else (INFER_RESPONSE_COMPLETE, now, REQUEST_END, now)
        root = self.root
        if response.error is not None:
            self.error = response.error.message
        elif root.setting.with_tensors:
            self._keep("TENSOR_BACKEND_OUTPUT", response.outputs)
        root.open -= 1
        if not root.open:
            root.owner.completed(root)

    def ended(self, responses: int) -> None:
        """Note the end of the request."""
        if self.is_decoupled:
            self.responses = responses
        root = self.root
        root.open -= 1
        if not root.open:
            root.owner.completed(root)

    # Of the front

    def sent(self, begin: int, begin_ns: int, end: int) -> None:
        """Note that the only response was sent between two moments, of which the second is now, and the front's end."""
        self.moments += (begin, begin_ns, end, monotonic_ns())
        root = self.root
        root.open -= 1
        if not root.open:
            root.owner.completed(root)

    def stamp(self, moment: int, ns: int) -> None:
        """Note a moment of the front."""
        if len(self.moments) < MAX_MOMENTS:
            self.moments += (moment, ns)

    def _keep(self, activity: str, tensors: Iterable[Tensor]) -> None:
        root = self.root
        for tensor in tensors:
            if tensor.is_large_to_pack:  # on the event loop; and how much it is, is not known before
                continue
            root.tensor_bytes += tensor.byte_size
            if root.tensor_bytes <= MAX_TENSOR_BYTES:
                copy = Tensor(tensor.name, tensor.datatype, tensor.shape, raw=bytes(tensor.raw))
                self.tensors = (*self.tensors, (activity, copy))
