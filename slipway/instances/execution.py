"""Run one batch on an executor and turn the result or the failure into an `Outcome`, for every in-process instance.

A batch that fails is run again request by request if the executor is stateless: a bad request costs its batch-mates
only time. It counts as one execution, from the start of the first attempt to the end of the last.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from slipway.backends.api import Execution, Executor, Stateless
from slipway.backends.instance_api import Outcome
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing
from slipway.errors import Code, FailureReason, SlipwayError, cancelled, internal

_LOG: Final = logging.getLogger("slipway.instances")


def execute(executor: Executor, batch: Sequence[Pending], name: str) -> Outcome:
    """Run `batch`; each request that fails is answered with an error. Never raises."""
    start = monotonic_ns()
    if len(batch) == 1 and batch[0].cancelled:  # cancelled while it waited for its turn
        return failed(batch, cancelled(), start)
    result = _attempt(executor, batch, name)
    if isinstance(result, Execution):
        return Outcome(result.responses, Timing(start, result.input_end, result.output_start, monotonic_ns()))
    if len(batch) == 1 or not isinstance(executor, Stateless):
        return failed(batch, result, start)
    return _one_by_one(executor, batch, name, start)


def _attempt(executor: Executor, batch: Sequence[Pending], name: str) -> Execution | SlipwayError:
    """Run `batch`; return the error if it failed as a whole."""
    try:
        execution = executor.execute(batch)
    except SlipwayError as error:
        return error.without_frames()
    except (Exception, SystemExit) as error:  # noqa: BLE001  a model's code and its library may raise anything
        _LOG.exception("execution failed on model instance '%s'", name)
        return unexpected(name, error)
    if len(execution.responses) != len(batch):
        count = f"{len(execution.responses)} responses to {len(batch)} requests"
        return internal(f"model instance '{name}' returned {count}")
    return execution


def _one_by_one(executor: Executor, batch: Sequence[Pending], name: str, start: int) -> Outcome:
    """Run each request of a batch that failed on its own."""
    input_end = monotonic_ns()
    responses: list[InferResponse | None] = []
    for pending in batch:
        result = cancelled() if pending.cancelled else _attempt(executor, [pending], name)
        responses += result.responses if isinstance(result, Execution) else [_refusal(result)]
    end = monotonic_ns()
    return Outcome(responses, Timing(start, input_end, end, end))


def unexpected(name: str, error: BaseException) -> SlipwayError:
    """Return the error a client gets for an unexpected exception: only its type. Its text may contain paths."""
    message = f"Failed to process the request(s) for model instance '{name}', message: {type(error).__name__}"
    return internal(message, reason=FailureReason.BACKEND)


def failed(batch: Sequence[Pending], error: SlipwayError, start: int) -> Outcome:
    """Return the outcome of an execution that began at `start` and failed as a whole.

    Each request gets its own error without a traceback: a shared one would keep the frames, and so the batch, alive.
    """
    end = monotonic_ns()
    return Outcome([_refusal(error) for _ in batch], Timing(start, start, end, end))


def _refusal(error: SlipwayError) -> InferResponse:
    reason = FailureReason.CANCELED if error.code is Code.CANCELLED else FailureReason.BACKEND
    return InferResponse(error=error.without_frames(reason=reason))
