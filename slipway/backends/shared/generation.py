"""Run requests on a transformer engine: the executor of every backend whose model generates or encodes sequences.

A backend turns each request into a `GenerationJob` (rows for the engine, and how results become tensors) and knows
nothing else about scheduling. This module sends the rows of a batch through `transformer/dispatch.py` together, even if
their lengths and settings differ. A request that cannot be read, or that the engine refuses, gets an error of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic_ns
from typing import Final, Protocol

from slipway.backends.api import Execution
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, SlipwayError, cancelled, internal, unsupported
from slipway.transformer.dispatch import GenerationRequest, OpenRequests, begin
from slipway.transformer.generation import Hypothesis, SequenceRequest, TransformerEngine

_LOG: Final = logging.getLogger("slipway.transformer")


class GenerationJob(Protocol):
    """One request as the engine sees it. A backend makes it; it lives as long as its request."""

    rows: Sequence[SequenceRequest]

    def answer(self, results: Sequence[Sequence[Hypothesis]]) -> list[Tensor]:
        """Return the output tensors: `results[i]` are the hypotheses of row i, best first.

        For a streamed request (decoupled model) it is called for every token, with the one hypothesis of each row so
        far.
        """


ReadJob = Callable[[InferRequest], GenerationJob]


class GenerationExecutor:
    """One instance: all instances share `engine`. `read` makes a job of a request, or raises `SlipwayError`.

    With `streams` (a decoupled model) each request gets one answer per generated token, then an empty final one if
    everything has been sent. Requests with beams, which can change until the end, are answered once.
    """

    def __init__(
        self, engine: TransformerEngine, read: ReadJob, *, streams: bool = False, default_priority: int = 0
    ) -> None:
        """`default_priority` is the level of requests without one, as config.pbtxt has it."""
        self._engine: TransformerEngine = engine
        self._default_priority = default_priority
        self._read = read
        self._streams = streams
        self._open = OpenRequests()

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Generate for every request that can be read. Each is answered when it is done: those that join the engine's
        running batch later, the others before the batch ends."""
        requests = [request for request in map(self._begin, batch) if request is not None]
        input_end = monotonic_ns()
        begin(self._engine, requests, self._open)
        return Execution([None] * len(batch), input_end, monotonic_ns())

    def check_ready(self) -> None:
        """Do nothing: a loaded engine can always serve."""

    def close(self) -> None:
        """Wait for the requests that are still generated; the loaded model owns the engine."""
        self._open.wait()

    def _begin(self, pending: Pending) -> GenerationRequest | None:
        """Return the request for the engine, or answer it with an error and return None."""
        try:
            job = self._job(pending)
        except SlipwayError as error:
            _fail(pending, error)
            return None
        except Exception as error:  # noqa: BLE001  whatever one request contains, its batch-mates are served
            _LOG.exception("a request to model '%s' could not be read", pending.request.model_name)
            _fail(pending, internal(f"the request could not be read: {type(error).__name__}"))
            return None
        priority = pending.request.priority or self._default_priority
        return (_Streamed if self._streams else _Answered)(pending, job, priority)

    def _job(self, pending: Pending) -> GenerationJob:
        if pending.cancelled:
            raise cancelled()
        job = self._read(pending.request)
        for row in job.rows:
            refusal = self._engine.refusal(row)
            if refusal:
                raise unsupported(f"{pending.request.log_prefix}{refusal}")
        return job


class _Answered(GenerationRequest):
    """A request that is answered once."""

    def __init__(self, pending: Pending, job: GenerationJob, priority: int) -> None:
        super().__init__([replace(row, priority=priority) for row in job.rows] if priority else job.rows)
        self._pending = pending
        self._job = job

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Do nothing; return whether the client is gone."""
        return self._pending.cancelled

    def wanted(self) -> bool:
        """Return whether the client is still waiting."""
        return not self._pending.cancelled

    def answer(self) -> None:
        """Answer with the job's tensors."""
        if self._pending.cancelled:  # the client left after the last token
            raise cancelled()
        self._pending.send(InferResponse(outputs=self._job.answer(self.results)))

    def fail(self, error: SlipwayError) -> None:
        """Answer with an error."""
        _fail(self._pending, error)


class _Streamed(_Answered):
    """A request that is answered each time all its open rows have another token."""

    def restart(self) -> None:
        """Start again, and forget the tokens so far."""
        super().restart()
        self._reached = 0  # how many tokens of every open row have been sent
        self._tokens: list[list[int]] = [[] for _ in self.rows]
        self._log_probabilities: list[list[float]] = [[] for _ in self.rows]
        self._figures: list[list[float]] = [[] for _ in self.rows]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Record one more token of a row; return whether the client is gone."""
        if self._pending.cancelled:
            return True
        self._tokens[row].append(token)
        self._log_probabilities[row].append(log_probability)
        self._figures[row].append(figure)
        reached = min(len(self._tokens[each]) for each in self.open)
        if reached > self._reached:
            self._send_partial(reached)
        return False

    def answer(self) -> None:
        """Send the final answer: an empty one if the partial answers already contained every token."""
        if self.sent and self._reached == max(map(len, self._tokens)) and not self._pending.cancelled:
            self._pending.send(InferResponse(empty=True))
        else:
            super().answer()

    def _send_partial(self, reached: int) -> None:
        self._reached, self.sent = reached, True
        so_far = [
            (self._so_far(row, reached),) if row in self.open else result for row, result in enumerate(self.results)
        ]
        self._pending.send(InferResponse(outputs=self._job.answer(so_far), final=False))

    def _so_far(self, row: int, reached: int) -> Hypothesis:
        total = sum(self._log_probabilities[row][:reached])
        return Hypothesis(tuple(self._tokens[row][:reached]), total, total, tuple(self._figures[row][:reached]))


def _fail(pending: Pending, error: SlipwayError) -> None:
    reason = FailureReason.CANCELED if pending.cancelled else error.reason
    pending.send(InferResponse(error=error.without_frames(reason=reason)))
