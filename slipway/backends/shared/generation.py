"""Run requests on a transformer engine: the executor of every backend whose model generates or encodes sequences.

A backend turns each request into a `Job` (rows for the engine, and how results become tensors) and knows no more of
scheduling; this module flattens the rows of a batch, runs them together whatever their lengths and settings are, and
answers each request as soon as its own rows are done. A request that cannot be read, or that the engine refuses, is
answered alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Protocol

from slipway.backends.api import Execution
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, SlipwayError, cancelled, unsupported
from slipway.transformer.generation import Hypothesis, SequenceRequest, TransformerEngine


class GenerationJob(Protocol):
    """One request as the engine sees it. Made by a backend; lives as long as its request."""

    rows: Sequence[SequenceRequest]

    def answer(self, results: Sequence[Sequence[Hypothesis]]) -> list[Tensor]:
        """Return the output tensors: `results[i]` are the hypotheses of row i, best first.

        A streamed request (decoupled model) calls it for every token, with the one hypothesis of each row so far.
        """


ReadJob = Callable[[InferRequest], GenerationJob]


class GenerationExecutor:
    """One instance: all instances share `engine`. `read` makes a job of a request, or raises `SlipwayError`.

    With `streams` (a decoupled model) each request gets an answer per generated token, and an empty final one when
    nothing is left to tell; beams, which change until the end, are answered once.
    """

    def __init__(self, engine: TransformerEngine, read: ReadJob, *, streams: bool = False) -> None:
        self._engine: TransformerEngine = engine
        self._read = read
        self._streams = streams

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Generate for every request that can be read; each is answered when it is done, not when the batch is."""
        runs: list[_Run] = []
        for pending in batch:
            run = self._begin(pending)
            if run is not None:
                runs.append(run)
        input_end = monotonic_ns()
        try:
            self._generate(runs)
        except SlipwayError as error:
            self._recover(runs, error)
        return Execution([None] * len(batch), input_end, monotonic_ns())

    def check_ready(self) -> None:
        """Do nothing: a loaded engine can always serve."""

    def close(self) -> None:
        """Do nothing: the loaded model owns the engine."""

    def _begin(self, pending: Pending) -> _Run | None:
        """Return the run of a request, or answer it with why there is none."""
        try:
            if pending.cancelled:
                raise cancelled()
            job = self._read(pending.request)
            for row in job.rows:
                refusal = self._engine.refusal(row)
                if refusal:
                    raise unsupported(f"{pending.request.log_prefix}{refusal}")
        except SlipwayError as error:
            _fail(pending, error)
            return None
        return _Run(pending, job, streams=self._streams)

    def _generate(self, runs: Sequence[_Run]) -> None:
        rows = [row for run in runs for row in run.job.rows]
        for run in runs:
            if not run.job.rows:
                run.finish()
        if rows:
            self._engine.generate(rows, _Dispatch(runs))

    def _recover(self, runs: Sequence[_Run], error: SlipwayError) -> None:
        """Run again, alone, every request of a failed batch that has had no answer; a lone one has the error."""
        open_runs = [run for run in runs if not run.finished]
        for run in open_runs:
            if len(runs) == 1 or run.partial_answers:
                _fail(run.pending, error)
                continue
            try:
                self._generate([_Run(run.pending, run.job, streams=run.streams)])
            except SlipwayError as own:
                _fail(run.pending, own)


class _Run:
    """One request in the engine: what its rows have so far."""

    def __init__(self, pending: Pending, job: GenerationJob, *, streams: bool) -> None:
        self.pending = pending
        self.job = job
        self.streams = streams
        self.finished = False
        self.partial_answers = 0
        self._results: list[Sequence[Hypothesis]] = [()] * len(job.rows)
        self._left = len(job.rows)
        self._tokens: list[list[int]] = [[] for _ in job.rows]
        self._log_probabilities: list[list[float]] = [[] for _ in job.rows]
        self._figures: list[list[float]] = [[] for _ in job.rows]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Take one more token of a row; return whether nobody wants the rest."""
        if self.pending.cancelled:
            return True
        if self.streams:
            self._tokens[row].append(token)
            self._log_probabilities[row].append(log_probability)
            self._figures[row].append(figure)
            reached = min(len(tokens) for tokens, result in zip(self._tokens, self._results, strict=True) if not result)
            if reached > self.partial_answers:
                self._send_partial(reached)
        return False

    def wanted(self) -> bool:
        """Return whether the client still waits."""
        return not self.pending.cancelled

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Take a finished row; answer when it was the last."""
        self._results[row] = hypotheses
        self._left -= 1
        if self._left == 0:
            self.finish()

    def finish(self) -> None:
        """Answer the request."""
        self.finished = True
        if self.pending.cancelled:
            _fail(self.pending, cancelled())
            return
        if self.partial_answers and self.partial_answers == max(map(len, self._tokens)):
            self.pending.send(InferResponse(empty=True))  # the last partial answer was the whole one
            return
        try:
            self.pending.send(InferResponse(outputs=self.job.answer(self._results)))
        except SlipwayError as error:
            _fail(self.pending, error)

    def _send_partial(self, reached: int) -> None:
        self.partial_answers = reached
        so_far = [
            result or (_hypothesis(tokens[:reached], sum(log_probabilities[:reached]), figures[:reached]),)
            for result, tokens, log_probabilities, figures in zip(
                self._results, self._tokens, self._log_probabilities, self._figures, strict=True
            )
        ]
        self.pending.send(InferResponse(outputs=self.job.answer(so_far), final=False))


def _hypothesis(tokens: Sequence[int], total: float, figures: Sequence[float]) -> Hypothesis:
    return Hypothesis(tuple(tokens), total, total, tuple(figures))


class _Dispatch:
    """Passes what the engine reports of its rows to the requests they belong to. A `generation.GenerationListener`."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        self._owners = [(run, index) for run in runs for index in range(len(run.job.rows))]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        run, index = self._owners[row]
        return run.token(index, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        """Return whether the row's client still waits."""
        return self._owners[row][0].wanted()

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Pass a finished row on."""
        run, index = self._owners[row]
        run.done(index, hypotheses)


def _fail(pending: Pending, error: SlipwayError) -> None:
    reason = FailureReason.CANCELED if pending.cancelled else error.reason
    pending.send(InferResponse(error=error.without_frames(reason=reason)))
