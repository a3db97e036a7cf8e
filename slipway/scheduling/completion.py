"""Completes every response of a model: stamps it, removes outputs that were not requested, refuses one that is too
large, counts and delivers it.

The only module that writes a response's model name, version and id, and that counts the requests and executions of a
model with instances. Does not know queues or instances.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from slipway.backends.instance_api import Outcome
from slipway.core.padding import PaddingRule, count_tokens
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics, TokenCount
from slipway.errors import Code, FailureReason, SlipwayError

_LOG: Final = logging.getLogger("slipway.scheduling")


def failure_reason(error: SlipwayError) -> FailureReason:
    """Return the reason that counts for a failed execution: BACKEND unless the error has a more specific one."""
    if error.code is Code.CANCELLED:
        return FailureReason.CANCELED
    return FailureReason.BACKEND if error.reason is FailureReason.OTHER else error.reason


class Completion:
    """Completes the requests of one model version, and tracks those that send responses after their execution.

    `settled` is called when the last of these gets its final response.
    """

    def __init__(
        self, signature: ModelSignature, statistics: ModelStatistics, version: str, settled: Callable[[], None]
    ) -> None:
        self._name = signature.model_name
        self._version = version
        self._statistics = statistics
        self._first_responses = statistics.first_response_histogram_ms
        self.padding = signature.padding
        if self.padding is not None:
            statistics.tokens = TokenCount()
        self._settled = settled
        self._answering: set[Pending] = set()  # executed, but without their final response so far
        self._answered: dict[Pending, tuple[SlipwayError | None, int]] = {}  # final response before the execution ended
        self._erred: dict[Pending, SlipwayError] = {}  # had an error response, but no final response so far
        self.observe = self._observe  # bound once, set on every request

    @property
    def unanswered(self) -> int:
        """Return how many executed requests are without their final response."""
        return len(self._answering)

    def finish(self, batch: Sequence[Pending], outcome: Outcome) -> None:
        """Count an execution and deliver its responses."""
        timing = outcome.timing
        responses = outcome.responses
        rows = failed = 0
        succeeded: list[int] = []  # when these requests arrived
        for pending, response in zip(batch, responses, strict=True):
            rows += pending.rows
            pending.timing = timing
            error = None
            if response is not None:
                unanswered = not pending.finished
                try:
                    pending.deliver(response)
                except Exception:  # noqa: BLE001  if one receiver fails, the others still get their responses
                    _LOG.exception("failed to deliver a response")
                error = response.error  # only now: delivery refuses a response that is too large
                if unanswered and response.final:  # counted after delivery, so that the client does not wait for it
                    cause = self._erred.pop(pending, error) if self._erred else error
                    if cause is None:
                        succeeded.append(pending.arrival_ns)
                    else:
                        self._record(pending, cause, timing.end)
            elif pending in self._answered:
                error, end = self._answered.pop(pending)
                pending.executed()
                self._record(pending, error, end)
            elif not pending.finished:
                self._answering.add(pending)
            if error is not None:
                failed += pending.rows
        if len(succeeded) == 1:
            self._statistics.record_success(succeeded[0], timing, timing.end)
        elif succeeded:
            self._statistics.record_successes(succeeded, timing)
        self._statistics.record_execution(rows, timing, time.time_ns() // 1_000_000, failed)
        if self.padding is not None:
            self._record_tokens(batch, self.padding)

    def refuse(self, pending: Pending, error: SlipwayError, now: int) -> None:
        """Respond with `error` to a request that is not executed, at `now` (monotonic ns)."""
        self._statistics.record_failure(now - pending.arrival_ns, error.reason)
        pending.observe = None
        pending.deliver(InferResponse(self._name, self._version, pending.request.id, error=error))

    def _observe(self, pending: Pending, response: InferResponse) -> None:
        request = pending.request
        response.model_name = self._name
        response.model_version = self._version
        response.id = request.id
        if request.outputs:
            response.outputs = [tensor for tensor in response.outputs if tensor.name in request.outputs]
        response.limit()
        if pending.responses == 1 and not response.empty:  # also of models that send only one, as in Triton 2.73
            self._first_responses.observe((time.monotonic_ns() - pending.arrival_ns) / 1e6)
        if not response.final:
            if response.error is not None:
                self._erred[pending] = response.error
            return
        if pending.timing is not None and pending not in self._answering:
            return  # `finish` delivers and counts it
        error = response.error
        if error is None and self._erred:
            error = self._erred.pop(pending, None)
        if pending in self._answering:
            self._answering.remove(pending)
            self._record(pending, error, time.monotonic_ns())
            if not self._answering:
                self._settled()
        else:
            self._answered[pending] = (error, time.monotonic_ns())

    def _record_tokens(self, batch: Sequence[Pending], rule: PaddingRule) -> None:
        """Count tokens as if all rows were as long as the longest row, which is what a stacking backend computes, and a
        Python model that stacks its requests itself."""
        inputs = [pending.request.inputs for pending in batch]
        own, padding = count_tokens([pending.rows for pending in batch], inputs, rule)
        counted = self._statistics.tokens
        if counted is not None:
            counted.own += own
            counted.padding += padding

    def _record(self, pending: Pending, error: SlipwayError | None, end_ns: int) -> None:
        timing = pending.timing
        if error is None and timing is not None:
            self._statistics.record_success(pending.arrival_ns, timing, end_ns)
        elif error is not None:
            self._statistics.record_failure(end_ns - pending.arrival_ns, failure_reason(error))
