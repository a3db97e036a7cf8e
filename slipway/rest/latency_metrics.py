"""The histograms and summaries of latencies: names and texts as tritonserver writes them. Tables only.

Triton keeps one of the histograms; the names of the others are proposed for it (triton-inference-server/core#474).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway.core.quantiles import Summary
from slipway.core.statistics import (
    COMPUTE_INFER_US,
    COMPUTE_INPUT_US,
    COMPUTE_OUTPUT_US,
    FIRST_RESPONSE_MS,
    QUEUE_US,
    REQUEST_US,
    Duration,
    Histogram,
    ModelStatistics,
    SummarisedDuration,
)

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[ModelStatistics], Histogram]], ...]] = (
    (
        FIRST_RESPONSE_MS,
        "Duration from request to first response in milliseconds",
        lambda counted: counted.first_response_histogram_ms,
    ),
    (
        REQUEST_US,
        "Histogram of inference request duration in microseconds (includes cached requests)",
        lambda counted: counted.success.histogram(),
    ),
    (
        QUEUE_US,
        "Histogram of inference queuing duration in microseconds (includes cached requests)",
        lambda counted: counted.queue.histogram(),
    ),
    (
        COMPUTE_INPUT_US,
        "Histogram of compute input duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_input.histogram(),
    ),
    (
        COMPUTE_INFER_US,
        "Histogram of compute inference duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_infer.histogram(),
    ),
    (
        COMPUTE_OUTPUT_US,
        "Histogram of inference compute output duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_output.histogram(),
    ),
)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One family of summaries; `with_cache`: only for models that have a response cache (True) or have none (False)."""

    name: str
    text: str
    duration: Callable[[ModelStatistics], Duration]
    with_cache: bool | None = None

    def summary(self, counted: ModelStatistics) -> Summary | None:
        """Return the summary that the statistics keep, None if they keep none."""
        duration = self.duration(counted)
        return duration.summary if isinstance(duration, SummarisedDuration) else None


SUMMARIES: Final = (
    SummaryRow(
        "nv_inference_request_summary_us",
        "Summary of inference request duration in microseconds (includes cached requests)",
        lambda counted: counted.success,
        with_cache=False,  # Triton would publish misleading figures otherwise
    ),
    SummaryRow(
        "nv_inference_queue_summary_us",
        "Summary of inference queuing duration in microseconds (includes cached requests)",
        lambda counted: counted.queue,
    ),
    SummaryRow(
        "nv_inference_compute_input_summary_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_input,
    ),
    SummaryRow(
        "nv_inference_compute_infer_summary_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_infer,
    ),
    SummaryRow(
        "nv_inference_compute_output_summary_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_output,
    ),
    SummaryRow(
        "nv_cache_hit_summary_per_model",
        "Summary of cache hit counts/durations per model, in microseconds.",
        lambda counted: counted.cache_hit,
        with_cache=True,
    ),
    SummaryRow(
        "nv_cache_miss_summary_per_model",
        "Summary of cache miss counts/durations per model, in microseconds.",
        lambda counted: counted.cache_miss,
        with_cache=True,
    ),
)
