"""The pending form of a request: plain for most, watched for those that are traced, explained or logged."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.core.log_settings import ARRIVALS
from slipway.core.pending import Deliver, Loop, Pending
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.core.watched import WatchedPending, Watcher
from slipway.engine.explaining import Explaining
from slipway.engine.model import ModelVersion
from slipway.engine.request_log import RequestLog, Watchers
from slipway.errors import SlipwayError
from slipway.scheduling.driver import InstanceScheduler
from slipway.tracing.pending import TracedPending
from slipway.tracing.trace import RequestTrace


def followed(
    request: InferRequest, model: ModelVersion, rows: int, arrival_ns: int, loop: Loop, deliver: Deliver, verbose: int
) -> Pending:
    """Return an accepted request, watched if it has a trace or an explanation, or if `verbose`."""
    if request.trace is None and request.explanation is None and not verbose:
        return Pending(request, rows, arrival_ns, loop, deliver, not model.signature.decoupled)
    return watched(request, model, rows, arrival_ns, loop, deliver, verbose)


def note_refusal(pending: Pending, error: SlipwayError) -> None:
    """Let the watcher of a request know, if it has one, that the request was not taken."""
    if isinstance(pending, WatchedPending | TracedPending):
        pending.refused(error)


def note_inputs(request: InferRequest, inputs: Iterable[Tensor]) -> None:
    """Let the trace of an accepted request know, if it has one, the inputs that were read since."""
    if isinstance(request.trace, RequestTrace):
        request.trace.received(inputs)


def watched(
    request: InferRequest, model: ModelVersion, rows: int, arrival_ns: int, loop: Loop, deliver: Deliver, verbose: int
) -> WatchedPending | TracedPending:
    """Return an accepted request that its trace, its explanation and, if `verbose`, the log follow."""
    signature = model.signature
    trace = request.trace
    watchers: list[Watcher] = []
    if isinstance(trace, RequestTrace):
        trace.accepted(request, model.version, arrival_ns, model.loaded is None, signature.decoupled)
        if type(model.scheduler) is InstanceScheduler and not (verbose or signature.decoupled or request.explanation):
            return TracedPending(request, rows, arrival_ns, loop, deliver, trace)
        watchers.append(trace)
    if request.explanation is not None:
        explaining = Explaining(request.explanation, model, rows, arrival_ns, deliver)
        watchers.append(explaining)
        deliver = explaining.deliver
    if verbose or not watchers:
        watchers.append(_log(request, model, rows, arrival_ns, verbose))
    watcher = watchers[0] if len(watchers) == 1 else Watchers(*watchers)
    return WatchedPending(request, rows, arrival_ns, loop, deliver, not signature.decoupled, watcher)


def _log(request: InferRequest, model: ModelVersion, rows: int, arrival_ns: int, verbose: int) -> RequestLog:
    log = RequestLog(request, model.version, rows, arrival_ns, model.id.namespace)
    if verbose >= ARRIVALS:
        log.arrived()
    return log
