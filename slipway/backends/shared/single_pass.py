"""Run requests that take one pass through a transformer engine: hidden states of rows, or the scores of their tokens.

The sibling of `generation.py`: the rows of all requests in a batch run together, even if their lengths differ. A
request that cannot be read gets an error of its own. The executors are stateless, so a batch that fails is run again
request by request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Generic, Literal, Protocol, TypeVar

from slipway.backends.api import Execution
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.transformer.generation import Encoded, SequenceRequest, TransformerEngine

Result = TypeVar("Result")
Given_contra = TypeVar("Given_contra", contravariant=True)


class SinglePassJob(Protocol[Given_contra]):
    """One request as the engine sees it."""

    rows: Sequence[SequenceRequest]

    def answer(self, results: Sequence[Given_contra]) -> list[Tensor]:
        """Return the output tensors of `results`, one per row."""


class HiddenStatesJob(SinglePassJob[Encoded], Protocol):
    """A request for hidden states."""

    attentions: bool  # whether the attention probabilities are wanted


Job = TypeVar("Job")


class SinglePassExecutor(ABC, Generic[Job]):
    """One instance: all instances share `engine`. `read` makes a job of a request, or raises `SlipwayError`."""

    def __init__(self, engine: TransformerEngine, read: Callable[[InferRequest], Job]) -> None:
        self.stateless: Literal[True] = True
        self.engine = engine
        self._read = read

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run all rows of the requests that can be read; the others are answered with their errors."""
        jobs = [self._job(pending) for pending in batch]
        input_end = monotonic_ns()
        readable = [job for job in jobs if not isinstance(job, SlipwayError)]
        answers = iter(self.run(readable))
        output_start = monotonic_ns()
        responses = [InferResponse(error=job) if isinstance(job, SlipwayError) else next(answers) for job in jobs]
        return Execution(responses, input_end, output_start)

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> list[InferResponse]:
        """Return one answer per job; raise `SlipwayError` when the call failed as a whole."""

    def check_ready(self) -> None:
        """Do nothing: a loaded engine can always serve."""

    def close(self) -> None:
        """Do nothing: the loaded model owns the engine."""

    def _job(self, pending: Pending) -> Job | SlipwayError:
        try:
            return self._read(pending.request)
        except SlipwayError as error:
            return error.without_frames()


class EncodingExecutor(SinglePassExecutor[HiddenStatesJob]):
    """Answers with the hidden states of the rows."""

    def run(self, jobs: Sequence[HiddenStatesJob]) -> list[InferResponse]:
        """Encode all rows together. Only jobs that ask for attention probabilities take the slower path for them."""
        answers: dict[int, InferResponse] = {}
        for attentions in (False, True):
            group = [index for index, job in enumerate(jobs) if job.attentions is attentions]
            compute = partial(self.engine.encode, attentions=attentions)
            answers.update(zip(group, _answers([jobs[index] for index in group], compute), strict=True))
        return [answers[index] for index in range(len(jobs))]


class ScoringExecutor(SinglePassExecutor[SinglePassJob[float]]):
    """Answers with the scores of the rows."""

    def run(self, jobs: Sequence[SinglePassJob[float]]) -> list[InferResponse]:
        """Score all rows together."""
        return _answers(jobs, self.engine.score)


def _answers(
    jobs: Sequence[SinglePassJob[Result]], compute: Callable[[Sequence[SequenceRequest]], list[Result]]
) -> list[InferResponse]:
    """Run all rows in one call and return one answer per job."""
    rows = [row for job in jobs for row in job.rows]
    results = iter(compute(rows) if rows else ())
    return [InferResponse(outputs=job.answer([next(results) for _ in job.rows])) for job in jobs]
