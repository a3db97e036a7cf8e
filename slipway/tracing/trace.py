"""What is recorded of one traced request while it runs: moments, tensors, and the requests that it leads to.

Runs on the event-loop thread and costs little: what is recorded is written down afterwards (`record.py`,
`exporting/`). A trace is complete when the front has answered and every request in it has ended. All that clients
and models can make grow is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from time import monotonic_ns
from typing import Final, Protocol

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor
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

MAX_MOMENTS: Final = 4096  # names and times of one request: a stream of responses may be long
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


class TraceRoot:
    """What the requests of one trace share: its setting, its requests in order, and how many parts are still open."""

    # Not slotted: what most traces never change need not be set for each of them.
    open = 1  # the front
    tensor_bytes = 0

    def __init__(self, setting: TraceSetting, context: TraceContext | None, owner: Traces) -> None:
        self.setting = setting
        self.context = context
        self.owner = owner
        self.requests: list[RequestTrace] = []

    def close(self) -> None:
        """Note that a part has ended."""
        self.open -= 1
        if not self.open:
            self.owner.completed(self)


class RequestTrace:
    """The trace of one request. Implements `core.trace.Trace` and `core.watched.Watcher`.

    `moments` alternates moments (`moments.py`) and their times in monotonic nanoseconds; `model` is "" until a model
    has accepted the request; `tensors` are copies, with their activity.
    """

    # Not slotted, as above.
    parent = 0
    span_id = 0
    model = ""
    version = 0
    request_id = ""
    is_ensemble = False
    is_decoupled = False
    error = ""
    responses = 0
    tensors: Sequence[tuple[str, Tensor]] = ()

    def __init__(self, root: TraceRoot, parent: int = 0) -> None:
        self.root = root
        self.number = next(_NUMBERS)
        self.moments: list[int] = []
        if parent:
            self.parent = parent
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
        if request.id:
            self.request_id = request.id
        if is_ensemble:
            self.is_ensemble = True
        if is_decoupled:
            self.is_decoupled = True
        self.moments += (REQUEST_START, arrival_ns, QUEUE_START, monotonic_ns())
        self.root.open += 1
        if self.root.setting.with_tensors:
            self._keep("TENSOR_QUEUE_INPUT", request.inputs.values())

    def executed(self, timing: Timing) -> None:
        """Note the times of an execution; an ensemble executes nothing itself, and the response cache neither."""
        if not self.is_ensemble and timing.end > timing.start and len(self.moments) < MAX_MOMENTS:
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

    def ended(self, responses: int) -> None:
        """Note the end of the request."""
        if self.is_decoupled:
            self.responses = responses
        root = self.root
        root.open -= 1
        if not root.open:
            root.owner.completed(root)

    # Of the front

    def stamp(self, moment: int, ns: int) -> None:
        """Note a moment of the front."""
        if len(self.moments) < MAX_MOMENTS:
            self.moments += (moment, ns)

    def _keep(self, activity: str, tensors: Iterable[Tensor]) -> None:
        root = self.root
        for tensor in tensors:
            root.tensor_bytes += tensor.byte_size
            if root.tensor_bytes <= MAX_TENSOR_BYTES:
                copy = Tensor(tensor.name, tensor.datatype, tensor.shape, raw=bytes(tensor.raw))
                self.tensors = (*self.tensors, (activity, copy))
