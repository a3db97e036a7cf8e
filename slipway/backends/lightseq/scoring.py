"""Run perplexity requests on a transformer engine: the executor of Gpt files whose sampling method is `ppl`.

The sibling of `backends/shared/encoding.py`: rows of all requests of a batch are scored together.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway.backends.lightseq.jobs import ScoringJob
from slipway.backends.shared.encoding import TogetherExecutor
from slipway.core.request import InferResponse


class ScoringExecutor(TogetherExecutor[ScoringJob]):
    """Answers with the scores of the rows."""

    def run(self, jobs: Sequence[ScoringJob]) -> list[InferResponse]:
        """Score all rows together."""
        rows = [row for job in jobs for row in job.rows]
        scores = iter(self.engine.score(rows) if rows else ())
        return [InferResponse(outputs=job.answer([next(scores) for _ in job.rows])) for job in jobs]
