"""Run requests through a transformer engine's encoder: the executor of backends that answer with hidden states.

The sibling of `generation.py`: rows of all requests of a batch run together, whatever their lengths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Generic, Protocol, TypeVar

from slipway.backends.api import Execution
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.transformer.generation import Encoded, SequenceRequest, TransformerEngine


class EncodingJob(Protocol):
    """One request as the encoder sees it."""

    rows: Sequence[SequenceRequest]
    attentions: bool  # whether the attention probabilities are wanted

    def answer(self, results: Sequence[Encoded]) -> list[Tensor]:
        """Return the output tensors of `results`, one per row."""


Job = TypeVar("Job")


class TogetherExecutor(ABC, Generic[Job]):
    """One instance: all instances share `engine`. `read` makes a job of a request, or raises `SlipwayError`; `run`
    answers the jobs of a batch with one call to the engine."""

    def __init__(self, engine: TransformerEngine, read: Callable[[InferRequest], Job]) -> None:
        self.engine = engine
        self._read = read

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run all rows of the requests that can be read; the others are answered with their errors."""
        jobs = [self._job(pending) for pending in batch]
        input_end = monotonic_ns()
        readable = [job for job in jobs if not isinstance(job, SlipwayError)]
        try:
            answers = iter(self.run(readable))
        except SlipwayError:
            if len(batch) == 1:
                raise
            answers = iter([self._alone(job) for job in readable])
        output_start = monotonic_ns()
        responses = [InferResponse(error=job) if isinstance(job, SlipwayError) else next(answers) for job in jobs]
        return Execution(responses, input_end, output_start)

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> list[InferResponse]:
        """Return the answer to each job; raise `SlipwayError` when the call failed as a whole."""

    def check_ready(self) -> None:
        """Do nothing: a loaded engine can always serve."""

    def close(self) -> None:
        """Do nothing: the loaded model owns the engine."""

    def _job(self, pending: Pending) -> Job | SlipwayError:
        try:
            return self._read(pending.request)
        except SlipwayError as error:
            return error.without_frames()

    def _alone(self, job: Job) -> InferResponse:
        try:
            return self.run([job])[0]
        except SlipwayError as error:
            return InferResponse(error=error.without_frames())


class EncodingExecutor(TogetherExecutor[EncodingJob]):
    """Answers with the hidden states of the rows."""

    def run(self, jobs: Sequence[EncodingJob]) -> list[InferResponse]:
        """Run all jobs together. Attention probabilities cost a slower path: only who asks for them takes it."""
        results: dict[int, list[Encoded]] = {}
        for attentions in (False, True):
            group = [index for index, job in enumerate(jobs) if job.attentions is attentions]
            rows = [row for index in group for row in jobs[index].rows]
            encoded = iter(self.engine.encode(rows, attentions=attentions) if rows else ())
            for index in group:
                results[index] = [next(encoded) for _ in jobs[index].rows]
        return [InferResponse(outputs=job.answer(results[index])) for index, job in enumerate(jobs)]
