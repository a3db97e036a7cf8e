"""Counters of one model version, for the statistics extension and the metrics endpoint.

Pure counting: durations come in as nanoseconds, `now_ms` as milliseconds since the epoch. Only the event-loop thread
writes. Source: Triton `extension_statistics.md`, `infer_stats.cc`; histogram buckets in microseconds. Summaries of the
phases are kept only if a `Summarise` is given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from slipway.core.quantiles import Summary
from slipway.errors import FailureReason

Bounds = tuple[float, ...]
Summarise = Callable[[], Summary]


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in total."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one occurrence that took `ns` nanoseconds."""
        self.count += 1
        self.ns += ns


class Histogram:
    """Counts of observations per bucket; `bounds` are inclusive upper bounds, the last bucket is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in its bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, value: float, times: int) -> None:
        """Count `value` in its bucket as if observed `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class PhaseDuration(Duration):
    """A phase of requests: as `Duration`, with a histogram of how long it took in microseconds."""

    __slots__ = ("_bounds_ns", "_buckets", "bounds_us")

    def __init__(self, bounds_us: tuple[float, ...]) -> None:
        super().__init__()
        self.bounds_us = bounds_us
        self._bounds_ns = [1000 * bound for bound in bounds_us]
        self._buckets = [0] * (len(bounds_us) + 1)

    def add(self, ns: int) -> None:
        """Count one occurrence that took `ns` nanoseconds, in its bucket too."""
        self.count += 1
        self.ns += ns
        self._buckets[bisect_left(self._bounds_ns, ns)] += 1

    def add_equal(self, ns: int, times: int) -> None:
        """Count several occurrences that took `ns` nanoseconds each."""
        self.count += times
        self.ns += ns * times
        self._buckets[bisect_left(self._bounds_ns, ns)] += times

    def histogram(self) -> Histogram:
        """Return the histogram so far."""
        histogram = Histogram(self.bounds_us)
        histogram.counts[:] = self._buckets
        histogram.total = self.ns / 1000
        return histogram


class SummarisedDuration(PhaseDuration):
    """As `PhaseDuration`, with a summary in whole microseconds."""

    __slots__ = ("summary",)

    def __init__(self, bounds_us: Bounds, summary: Summary) -> None:
        super().__init__(bounds_us)
        self.summary = summary

    def add(self, ns: int) -> None:
        """Count one occurrence that took `ns` nanoseconds, in its summary too."""
        super().add(ns)
        self.summary.observe(ns // 1000)

    def add_equal(self, ns: int, times: int) -> None:
        """Count several occurrences that took `ns` nanoseconds each, in its summary too."""
        super().add_equal(ns, times)
        for _ in range(times):
            self.summary.observe(ns // 1000)


@dataclass(slots=True)
class BatchDurations:
    """Executions of one batch size: how many, and nanoseconds of each phase."""

    count: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0

    @property
    def compute_input(self) -> Duration:
        """The time until the inputs were ready."""
        return Duration(self.count, self.input_ns)

    @property
    def compute_infer(self) -> Duration:
        """The time of the executions themselves."""
        return Duration(self.count, self.infer_ns)

    @property
    def compute_output(self) -> Duration:
        """The time from there on until the outputs were ready."""
        return Duration(self.count, self.output_ns)


@dataclass(slots=True)
class Timing:
    """The clock readings (monotonic nanoseconds) of one execution, in order."""

    # Not frozen: one is created per execution, and a frozen one takes three times as long to create.

    start: int
    input_end: int
    output_start: int
    end: int


@dataclass(slots=True)
class TokenCount:
    """Tokens in executed requests, and padding tokens in their batches (`core.padding.count_tokens`)."""

    own: int = 0
    padding: int = 0


# The families of histograms whose buckets a model may choose, and their default buckets (upper bounds).
FIRST_RESPONSE_MS: Final = "nv_inference_first_response_histogram_ms"
REQUEST_US: Final = "nv_inference_request_duration_histogram_us"
QUEUE_US: Final = "nv_inference_queue_duration_histogram_us"
COMPUTE_INPUT_US: Final = "nv_inference_compute_input_duration_histogram_us"
COMPUTE_INFER_US: Final = "nv_inference_compute_infer_duration_histogram_us"
COMPUTE_OUTPUT_US: Final = "nv_inference_compute_output_duration_histogram_us"

BATCH_SIZE_BUCKETS = tuple(float(2**power) for power in range(11))  # rows: 1 to 1024
REQUEST_BUCKETS_US = (1000.0, 5000.0, 25000.0, 50000.0, 100000.0)
PHASE_BUCKETS_US = (100.0, 1000.0, 5000.0, 10000.0, 50000.0)
FIRST_RESPONSE_BUCKETS_MS = (100.0, 500.0, 2000.0, 5000.0)
DEFAULT_BUCKETS: Final[Mapping[str, Bounds]] = MappingProxyType(
    {
        FIRST_RESPONSE_MS: FIRST_RESPONSE_BUCKETS_MS,
        REQUEST_US: REQUEST_BUCKETS_US,
        QUEUE_US: PHASE_BUCKETS_US,
        COMPUTE_INPUT_US: PHASE_BUCKETS_US,
        COMPUTE_INFER_US: REQUEST_BUCKETS_US,
        COMPUTE_OUTPUT_US: PHASE_BUCKETS_US,
    }
)


class ModelStatistics:
    """Everything counted for one model version.

    `buckets` replace default buckets by family; with `summarise`, which returns a new summary, the phases of requests
    and the response cache have summaries.
    """

    __slots__ = (
        "batches",
        "cache_hit",
        "cache_miss",
        "compute_infer",
        "compute_input",
        "compute_output",
        "execution_count",
        "fail",
        "failures",
        "first_response_histogram_ms",
        "inference_count",
        "last_inference_ms",
        "load_seconds",
        "pending",
        "queue",
        "success",
        "tokens",
    )

    def __init__(
        self, buckets: Mapping[str, Bounds] = MappingProxyType({}), summarise: Summarise | None = None
    ) -> None:
        bounds = {**DEFAULT_BUCKETS, **buckets}

        def phase(family: str) -> PhaseDuration:
            if summarise is None:
                return PhaseDuration(bounds[family])
            return SummarisedDuration(bounds[family], summarise())

        self.inference_count = 0  # rows executed
        self.execution_count = 0  # executions
        self.last_inference_ms = 0
        self.success = phase(REQUEST_US)
        self.fail = Duration()
        self.queue = phase(QUEUE_US)
        self.compute_input = phase(COMPUTE_INPUT_US)
        self.compute_infer = phase(COMPUTE_INFER_US)
        self.compute_output = phase(COMPUTE_OUTPUT_US)
        self.cache_hit: Duration = (
            Duration() if summarise is None else SummarisedDuration((), summarise())
        )  # looking up
        self.cache_miss: Duration = (
            Duration() if summarise is None else SummarisedDuration((), summarise())
        )  # looking up and inserting
        self.batches: dict[int, BatchDurations] = {}
        self.failures: dict[FailureReason, int] = dict.fromkeys(FailureReason, 0)
        self.pending = 0  # requests waiting for execution
        self.load_seconds = 0.0
        self.tokens: TokenCount | None = None  # only for a model whose requests are batched by length
        self.first_response_histogram_ms = Histogram(bounds[FIRST_RESPONSE_MS])

    def record_execution(self, rows: int, timing: Timing, now_ms: int, failed_rows: int = 0) -> None:
        """Count one execution of `rows` rows; as in Triton, rows of failed requests do not count as inferences."""
        self.execution_count += 1
        self.inference_count += rows - failed_rows
        self.last_inference_ms = now_ms
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = BatchDurations()
        batch.count += 1
        batch.input_ns += timing.input_end - timing.start
        batch.infer_ns += timing.output_start - timing.input_end
        batch.output_ns += timing.end - timing.output_start

    def record_success(self, arrival_ns: int, timing: Timing, end_ns: int) -> None:
        """Count one successful request that arrived at `arrival_ns` and was executed as `timing` records."""
        self.success.add(end_ns - arrival_ns)
        self.queue.add(timing.start - arrival_ns)
        self.compute_input.add(timing.input_end - timing.start)
        self.compute_infer.add(timing.output_start - timing.input_end)
        self.compute_output.add(timing.end - timing.output_start)

    def record_successes(self, arrivals_ns: Sequence[int], timing: Timing) -> None:
        """Count the successful requests of one execution, which ended with it."""
        start, end, count = timing.start, timing.end, len(arrivals_ns)
        for arrival_ns in arrivals_ns:
            self.success.add(end - arrival_ns)
            self.queue.add(start - arrival_ns)
        self.compute_input.add_equal(timing.input_end - start, count)
        self.compute_infer.add_equal(timing.output_start - timing.input_end, count)
        self.compute_output.add_equal(end - timing.output_start, count)

    def record_cache_hit(self, arrival_ns: int, lookup_ns: int, found_ns: int) -> None:
        """Count a request that the response cache answered: looked up from `lookup_ns` to `found_ns` (monotonic)."""
        self.success.add(found_ns - arrival_ns)
        self.queue.add(lookup_ns - arrival_ns)
        self.first_response_histogram_ms.observe((found_ns - arrival_ns) / 1e6)
        self.cache_hit.add(found_ns - lookup_ns)

    def record_failure(self, duration_ns: int, reason: FailureReason) -> None:
        """Count one failed request."""
        self.fail.add(duration_ns)
        self.failures[reason] += 1

    def batch_sizes(self) -> Histogram:
        """Return the histogram of rows per execution, in powers of two."""
        histogram = Histogram(BATCH_SIZE_BUCKETS)
        for rows, durations in self.batches.items():
            histogram.add(rows, durations.compute_infer.count)
        return histogram


def padding_share(statistics: ModelStatistics) -> float:
    """Return the share of padding in the tokens of all executed batches (0 if nothing was padded or counted)."""
    counted = statistics.tokens
    if counted is None or not counted.padding:
        return 0.0
    return counted.padding / (counted.own + counted.padding)
