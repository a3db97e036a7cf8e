"""Run one batch on an executor and turn the result or the failure into an `Outcome`, for every in-process instance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from slipway.backends.api import Executor
from slipway.backends.instance_api import Outcome
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing
from slipway.errors import Code, FailureReason, SlipwayError, cancelled, internal

_LOG: Final = logging.getLogger("slipway.instances")


def execute(executor: Executor, batch: Sequence[Pending], name: str) -> Outcome:
    """Run `batch`; if it fails as a whole, each of its requests is answered with an error. Never raises."""
    start = monotonic_ns()
    if len(batch) == 1 and batch[0].cancelled:  # cancelled while it waited for its turn
        return failed(batch, cancelled(), start)
    try:
        execution = executor.execute(batch)
    except SlipwayError as error:
        return failed(batch, error, start)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a model's code and its library may raise anything
        _LOG.exception("execution failed on model instance '%s'", name)
        return failed(batch, unexpected(name, error), start)
    responses = execution.responses
    if len(responses) != len(batch):
        count = f"{len(responses)} responses to {len(batch)} requests"
        return failed(batch, internal(f"model instance '{name}' returned {count}"), start)
    return Outcome(responses, Timing(start, execution.input_end, execution.output_start, monotonic_ns()))


def unexpected(name: str, error: BaseException) -> SlipwayError:
    """Return the error a client gets for an unexpected exception: only its type. Its text may contain paths."""
    message = f"Failed to process the request(s) for model instance '{name}', message: {type(error).__name__}"
    return internal(message, reason=FailureReason.BACKEND)


def failed(batch: Sequence[Pending], error: SlipwayError, start: int) -> Outcome:
    """Return the outcome of an execution that began at `start` and failed as a whole.

    Each request gets its own error without a traceback: a shared one would keep the frames, and so the batch, alive.
    """
    end = monotonic_ns()
    reason = FailureReason.CANCELED if error.code is Code.CANCELLED else FailureReason.BACKEND
    responses = [InferResponse(error=error.without_frames(reason=reason)) for _ in batch]
    return Outcome(responses, Timing(start, start, end, end))
