"""Run perplexity requests on a transformer engine: the executor of Gpt files whose sampling method is `ppl`.

The sibling of `backends/encoding.py`: rows of all requests of a batch are scored together.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

from slipway.backends.api import Execution
from slipway.backends.lightseq.jobs import ScoringJob, ScoringReader
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.errors import SlipwayError
from slipway.transformer.generation import Engine


class ScoringExecutor:
    """One instance: all instances share `engine`."""

    def __init__(self, engine: Engine, read: ScoringReader) -> None:
        self._engine = engine
        self._read = read

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Score all rows of the requests that can be read; the others are answered with their errors."""
        jobs = [self._job(pending) for pending in batch]
        input_end = monotonic_ns()
        readable = [job for job in jobs if isinstance(job, ScoringJob)]
        try:
            answers = iter(self._score(readable))
        except SlipwayError:
            if len(batch) == 1:
                raise
            answers = iter([self._alone(job) for job in readable])
        output_start = monotonic_ns()
        responses = [next(answers) if isinstance(job, ScoringJob) else InferResponse(error=job) for job in jobs]
        return Execution(responses, input_end, output_start)

    def check_ready(self) -> None:
        """Do nothing: a loaded engine can always serve."""

    def close(self) -> None:
        """Do nothing: the loaded model owns the engine."""

    def _job(self, pending: Pending) -> ScoringJob | SlipwayError:
        try:
            return self._read(pending.request)
        except SlipwayError as error:
            return SlipwayError(error.code, error.message, reason=error.reason)  # without the traceback's frames

    def _score(self, jobs: Sequence[ScoringJob]) -> list[InferResponse]:
        rows = [row for job in jobs for row in job.rows]
        scores = iter(self._engine.score(rows) if rows else ())
        return [InferResponse(outputs=job.answer([next(scores) for _ in job.rows])) for job in jobs]

    def _alone(self, job: ScoringJob) -> InferResponse:
        try:
            return self._score([job])[0]
        except SlipwayError as error:
            return InferResponse(error=SlipwayError(error.code, error.message, reason=error.reason))
