"""One request in progress in an ensemble: submits the steps that are ready and processes their responses.

Runs on the event-loop thread. `ensemble_graph.py` decides which steps are ready. However a step ends (refused, failed,
cancelled, without a response), the request gets its final response, and the steps that are still running are cancelled.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from slipway.core.check import matches_dims
from slipway.core.explanation import Wait
from slipway.core.pace import Pace
from slipway.core.pending import Deliver, Pending
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse, Parameter
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics, Timing
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, SlipwayError, cancelled, invalid
from slipway.scheduling.ensemble_graph import EnsembleGraph, EnsembleRun, StepCall
from slipway.scheduling.ensemble_limits import StepLimits

DEADLOCK = "unexpected deadlock, at least one output is not set while no more ensemble steps can be made"

Submit = Callable[[InferRequest, Deliver], Pending]
SignatureOf = Callable[[str, str], ModelSignature]


@dataclass(frozen=True, slots=True)
class EnsembleContext:
    """The values that all requests to one ensemble share; `ended` is called after each request's final response.

    Without `limits`, any number of requests to a step may be in flight.
    """

    signature: ModelSignature
    statistics: ModelStatistics
    version: str
    submit: Submit
    signature_of: SignatureOf
    ended: Callable[[], None]
    limits: StepLimits | None = None


@dataclass(frozen=True, slots=True)
class _Flowing:
    """A tensor between steps. `rows` is the batch size of the request that it came with, None from a model (or an
    ensemble) that does not batch."""

    tensor: Tensor
    rows: int | None


class _Call:
    """A running step: passes each response on, together with itself."""

    __slots__ = ("begin_ns", "pace", "pending", "rows", "run", "step_call")

    def __init__(self, run: RunningRequest, step_call: StepCall[_Flowing]) -> None:
        self.run = run
        self.step_call = step_call
        self.rows: int | None = None  # of the step's request, where its model batches
        self.pending: Pending | None = None  # from submission to the final response; then None, to leave no cycle
        self.begin_ns = time.monotonic_ns()
        self.pace: Pace | None = None  # where the ensemble limits its steps and this one may respond several times

    def receive(self, response: InferResponse) -> None:
        self.run.receive(self, response)

    def receive_limited(self, response: InferResponse) -> None:
        """As `receive`, of a step with a place among the requests in flight: the final response frees it."""
        self.run.receive(self, response)
        if response.final:
            self.run.leave(self)

    def begin(self) -> None:
        """Submit the request after waiting for a place."""
        before, self.begin_ns = self.begin_ns, time.monotonic_ns()
        self.run.note_wait(self.begin_ns - before)
        self.run.resume(self)


class RunningRequest:
    """A request to an ensemble. It processes responses in a loop, not recursively: models may answer at once."""

    __slots__ = (
        "_begin_ns",
        "_busy",
        "_calls",
        "_context",
        "_ended",
        "_flow",
        "_inbox",
        "_pending",
        "_spent",
        "_waiting",
    )

    def __init__(self, context: EnsembleContext, pending: Pending, graph: EnsembleGraph) -> None:
        self._context = context
        self._pending = pending
        rows = pending.rows if context.signature.max_batch_size > 0 else None
        inputs = {name: _Flowing(tensor, rows) for name, tensor in pending.request.inputs.items()}
        self._flow: EnsembleRun[_Flowing] = EnsembleRun(graph, inputs)
        self._calls: set[_Call] = set()
        self._inbox: deque[tuple[_Call, InferResponse]] = deque()
        self._busy = False
        self._ended = False
        self._waiting: set[_Call] = set()  # for a place among the requests in flight
        self._begin_ns = time.monotonic_ns()
        self._spent = [0, 0, 0]  # ns of compute input, infer and output, over all steps

    def begin(self) -> None:
        """Submit the steps that need only the request's own inputs."""
        self._pending.on_cancel(self._cancel)
        self._advance()

    def receive(self, call: _Call, response: InferResponse) -> None:
        """Take a step's response."""
        if self._ended:
            return
        self._inbox.append((call, response))
        if not self._busy:
            self._advance()

    def _advance(self) -> None:
        self._busy = True
        try:
            while not self._ended:
                if self._flow.calls:
                    self._launch(self._flow.take())
                elif self._inbox:
                    self._absorb(*self._inbox.popleft())
                else:
                    break
        finally:
            self._busy = False
        if not self._ended and self._flow.done:
            self._finish()

    def _launch(self, step_call: StepCall[_Flowing]) -> None:
        call = _Call(self, step_call)
        self._calls.add(call)
        limits = self._context.limits
        if limits is None:
            self._submit(call, call.receive)
        elif limits.enter(step_call.step.index, call):
            self._submit_limited(call)
        else:
            self._waiting.add(call)
            self._pace()

    def resume(self, call: _Call) -> None:
        """Submit a step's request that waited for its turn."""
        self._waiting.discard(call)
        self._pace()
        busy, self._busy = self._busy, True  # a response that comes at once waits for its turn, as in `_advance`
        try:
            self._submit_limited(call)
        finally:
            self._busy = busy
        if not busy:
            self._advance()

    def note_wait(self, ns: int) -> None:
        """Note that a step has waited for a place, if the request asks to be explained."""
        explanation = self._pending.request.explanation
        if explanation is not None:
            explanation.waited(Wait.INFLIGHT, ns)

    def leave(self, call: _Call) -> None:
        """Free the place that a step's request had."""
        if self._context.limits is not None:
            self._context.limits.leave(call.step_call.step.index)

    def _pace(self) -> None:
        """Let those steps wait before their next response that come before a step without a place, and the others go
        on: a step must not wait for the places that its own requests have."""
        held = self._held_steps()
        for call in self._calls:
            if call.pace is not None:
                if call.step_call.step.index in held:
                    call.pace.hold()
                else:
                    call.pace.release()

    def _held_steps(self) -> frozenset[int]:
        return frozenset().union(*(self._flow.before(call.step_call.step) for call in self._waiting))

    def _submit_limited(self, call: _Call) -> None:
        if not self._submit(call, call.receive_limited):
            self.leave(call)

    def _submit(self, call: _Call, deliver: Deliver) -> bool:
        """Return whether the model accepted the step's request; if not, the ensemble has failed."""
        step_call = call.step_call
        try:
            signature = self._context.signature_of(step_call.step.model_name, step_call.step.model_version)
            request = self._step_request(step_call, signature)
            if signature.max_batch_size > 0:
                call.rows = next((tensor.shape[0] for tensor in request.inputs.values() if tensor.shape), 1)
            if self._context.limits is not None and signature.decoupled:
                request.pace = call.pace = self._pace_of(step_call)
            pending = self._context.submit(request, deliver)
        except SlipwayError as error:
            self._calls.discard(call)
            self._fail(error)
            return False
        if self._ended:
            pending.cancel()
        else:
            call.pending = pending
        return True

    def _pace_of(self, step_call: StepCall[_Flowing]) -> Pace | None:
        """Return the brake of a step; None if a later step runs on the same model, whose instance must not wait."""
        step, steps = step_call.step, self._flow.steps
        if any(each.model_name == step.model_name and each.index != step.index for each in steps):
            return None
        pace = Pace()
        if step.index in self._held_steps():
            pace.hold()
        return pace

    def _step_request(self, call: StepCall[_Flowing], signature: ModelSignature) -> InferRequest:
        request, step = self._pending.request, call.step
        return InferRequest(
            step.model_name,
            step.model_version,
            request.id,
            inputs={name: _fit(value, name, signature.inputs, signature) for name, value in call.inputs.items()},
            outputs=call.outputs,
            parameters=request.parameters,
            priority=request.priority,
            timeout_us=request.timeout_us,
            correlation_id=request.correlation_id,
            flags=request.flags,
            trace=None if request.trace is None else request.trace.child(),
            explanation=None if request.explanation is None else request.explanation.step(step.model_name),
        )

    def _absorb(self, call: _Call, response: InferResponse) -> None:
        if response.error is not None:
            self._fail(response.error)
            return
        if response.final:
            self._close(call)
        outputs = None
        if not response.empty:
            outputs = {tensor.name: _Flowing(tensor, call.rows) for tensor in response.outputs}
        flow = self._flow
        flow.answer(call.step_call, outputs, final=response.final)
        if self._context.signature.decoupled:
            while flow.answers:
                answer = self._response(flow.answers.popleft())
                if flow.done and not flow.answers:
                    self._succeed(answer)
                else:
                    self._send(answer)

    def _close(self, call: _Call) -> None:
        """Add the step's durations; a step that responded before its execution ended counts with its total time."""
        self._calls.discard(call)
        pending, call.pending = call.pending, None
        timing = pending.timing if pending is not None else None
        spent = self._spent
        if timing is None:
            spent[1] += time.monotonic_ns() - call.begin_ns
        else:
            spent[0] += timing.input_end - timing.start
            spent[1] += timing.output_start - timing.input_end
            spent[2] += timing.end - timing.output_start

    def _finish(self) -> None:
        """Send the final response once every step has finished."""
        if self._flow.answers:
            self._succeed(self._response(self._flow.answers.popleft()))
        elif self._context.signature.decoupled:
            self._succeed(InferResponse(empty=True))
        else:
            self._fail(invalid(DEADLOCK))

    def _response(self, tensors: dict[str, _Flowing]) -> InferResponse:
        signature = self._context.signature
        return InferResponse(
            outputs=[_fit(value, name, signature.outputs, signature) for name, value in tensors.items()]
        )

    def _send(self, response: InferResponse) -> None:
        """Deliver one of several responses."""
        response.final = False
        self._deliver(response)

    def _succeed(self, response: InferResponse) -> None:
        """Count the request as executed, with the sum of the steps' durations, and deliver the final response."""
        pending, statistics = self._pending, self._context.statistics
        compute_input, infer, output = self._spent
        start = self._begin_ns
        infer_end = start + compute_input + infer
        timing = Timing(start, start + compute_input, infer_end, infer_end + output)
        pending.timing = timing
        statistics.record_execution(pending.rows, timing, time.time_ns() // 1_000_000)
        statistics.record_success(pending.arrival_ns, timing, time.monotonic_ns())
        self._end(response)

    def _fail(self, error: SlipwayError) -> None:
        """Respond with a step's error in the ensemble's name. It counts as OTHER: the step's model counts the cause."""
        message = f"in ensemble '{self._context.signature.model_name}', {error.message}"
        self._end_with(SlipwayError(error.code, message))

    def _cancel(self) -> None:
        if not self._ended:
            self._end_with(cancelled())

    def _end_with(self, error: SlipwayError) -> None:
        reason = FailureReason.OTHER if error.reason is not FailureReason.CANCELED else error.reason
        self._context.statistics.record_failure(time.monotonic_ns() - self._pending.arrival_ns, reason)
        self._end(InferResponse(error=error))

    def _end(self, response: InferResponse) -> None:
        """Deliver the final response and cancel the steps that are still running."""
        self._ended = True
        calls, self._calls = self._calls, set()
        waiting, self._waiting = self._waiting, set()
        self._inbox.clear()
        for call in waiting:
            if self._context.limits is not None:
                self._context.limits.forget(call.step_call.step.index, call)
        for call in calls:
            pending, call.pending = call.pending, None
            if pending is not None:
                pending.cancel()
            if call.pace is not None:
                call.pace.release()
        try:
            self._deliver(response)
        finally:
            self._context.ended()

    def _deliver(self, response: InferResponse) -> None:
        pending, context = self._pending, self._context
        response.model_name = context.signature.model_name
        response.model_version = context.version
        response.id = pending.request.id
        if response.error is None and not response.empty:
            response.parameters = _sequence_parameters(pending.request) or response.parameters
        if not pending.responses and not response.empty:
            milliseconds = (time.monotonic_ns() - pending.arrival_ns) / 1e6
            context.statistics.first_response_histogram_ms.observe(milliseconds)
        pending.deliver(response)


def _sequence_parameters(request: InferRequest) -> dict[str, Parameter]:
    """Return the sequence fields of an ensemble's response. Triton sends them even if there is no sequence."""
    if not request.correlation_id and not request.flags:
        return {}
    return {
        "sequence_id": request.correlation_id,
        "sequence_start": bool(request.flags & SEQUENCE_START),
        "sequence_end": bool(request.flags & SEQUENCE_END),
    }


def _fit(value: _Flowing, name: str, specs: dict[str, TensorSpec], signature: ModelSignature) -> Tensor:
    """Return the tensor as `name` of `signature`.

    A batch dimension of 1 is added or dropped only where exactly one of the two sides batches; any other shape stays as
    it is, for the check of the model that gets it (Triton: `ReshapeTensorDims` of ensemble_scheduler.cc).
    """
    tensor = value.tensor
    if tensor.name != name:
        tensor = tensor.renamed(name)
    spec = specs.get(name)
    batches = signature.max_batch_size > 0
    if spec is None or batches == (value.rows is not None):
        return tensor
    shape, fits = tensor.shape, matches_dims(tensor.shape, spec.dims)
    if batches and fits:
        return tensor.reshaped((1, *shape))
    if not batches and not fits and value.rows == 1 and shape[:1] == (1,):
        return tensor.reshaped(shape[1:])
    return tensor
