"""GET /metrics: Prometheus text with Triton's names, labels and help texts.

Source: Triton metrics.md and the output of tritonserver (prometheus-cpp: labels sorted, `le` last, integers without
decimals). The families slipway_* appear only while a model that batches by length is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.config.metrics_settings import DEFAULT_QUANTILES, Quantiles
from slipway.core.quantiles import Summary
from slipway.core.statistics import Histogram, ModelStatistics, TokenCount
from slipway.engine.api import Dataplane, VersionStatistics
from slipway.errors import FailureReason
from slipway.response_cache.api import CacheReport
from slipway.rest.access import Access
from slipway.rest.cache_metrics import CACHE_METRICS, MODEL_COUNTERS
from slipway.rest.exchange import Exchange
from slipway.rest.latency_metrics import HISTOGRAMS, SUMMARIES
from slipway.rest.processor import ProcessorGauges
from slipway.rest.response import JSON, error_body

_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n"
_PATHS: Final = (b"/metrics", b"/metrics/")
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})

Labels = Sequence[tuple[str, str]]
Sample = tuple[str, Labels, float]  # suffix of the name, labels in order, value


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """Which metrics are shown (tritonserver's --metrics-config and --allow-cpu-metrics)."""

    counter_latencies: bool = True
    histogram_latencies: bool = True
    summary_latencies: bool = False
    summary_quantiles: Quantiles = DEFAULT_QUANTILES  # what the statistics keep; shown as they are there
    cpu: bool = True


_COUNTERS: Final[tuple[tuple[str, str, Callable[[ModelStatistics], float]], ...]] = (
    (
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda counted: counted.inference_count,
    ),
    (
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda counted: counted.execution_count,
    ),
)
_DURATIONS: Final[tuple[tuple[str, str, Callable[[ModelStatistics], float]], ...]] = (
    (
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda counted: counted.success.ns // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda counted: counted.queue.ns // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_input.ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_infer.ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        lambda counted: counted.compute_output.ns // 1000,
    ),
)
# For models whose requests are batched by length.
_TOKENS: Final[tuple[tuple[str, str, Callable[[TokenCount], int]], ...]] = (
    (
        "slipway_inference_token_count",
        "Number of tokens in executed requests, excluding padding",
        lambda counted: counted.own,
    ),
    (
        "slipway_inference_padding_count",
        "Number of padding tokens in executed batches",
        lambda counted: counted.padding,
    ),
)
_MACHINE: Final = {
    "nv_pinned_memory_pool_total_bytes": "Pinned memory pool total memory size, in bytes",
    "nv_pinned_memory_pool_used_bytes": "Pinned memory pool used memory size, in bytes",
    "nv_cpu_utilization": "CPU utilization rate [0.0 - 1.0]",
    "nv_cpu_memory_total_bytes": "CPU total memory (RAM), in bytes",
    "nv_cpu_memory_used_bytes": "CPU used memory (RAM), in bytes",
}
_NO_PINNED_MEMORY: Final = {"nv_pinned_memory_pool_total_bytes": 0.0, "nv_pinned_memory_pool_used_bytes": 0.0}


def build_metrics_page(dataplane: Dataplane, options: MetricsOptions) -> Callable[[Exchange], None]:
    """Return what answers an exchange with the metrics."""
    gauges = ProcessorGauges()

    def answer(exchange: Exchange) -> None:
        machine = _NO_PINNED_MEMORY | (gauges.read() if options.cpu else {})
        exchange.answer(200, _TEXT, render(dataplane, machine, options).encode())

    return answer


def build_metrics_app(
    dataplane: Dataplane, options: MetricsOptions | None = None, access: Access | None = None
) -> Callable[[Exchange], None]:
    """Return the handler of the metrics listener, which serves only /metrics."""
    page = build_metrics_page(dataplane, options or MetricsOptions())
    access = access or Access()

    def handle(exchange: Exchange) -> None:
        if exchange.method != b"GET":
            exchange.answer(405, JSON, error_body("Method Not Allowed"))
        elif refusal := access.refusal(exchange):
            exchange.answer(refusal.status, JSON, error_body(refusal.message))
        elif exchange.path not in _PATHS:
            exchange.answer(200, _TEXT)
        else:
            page(exchange)

    return handle


def render(dataplane: Dataplane, machine: Mapping[str, float], options: MetricsOptions) -> str:
    """Return the whole text; `machine` holds the gauges that do not belong to a model."""
    versions = dataplane.model_statistics("", "")
    labelled = [(_labels(version), version.statistics) for version in versions]
    lines: list[str] = []
    _family(
        lines,
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        "counter",
        [("", labels, counted.success.count) for labels, counted in labelled],
    )
    _family(
        lines,
        "nv_inference_request_failure",
        "Number of failed inference requests, all batch sizes",
        "counter",
        [
            ("", _labels(version, reason), version.statistics.failures[reason])
            for version in versions
            for reason in FailureReason
        ],
    )
    for name, text, value in _COUNTERS + (_DURATIONS if options.counter_latencies else ()):
        _family(lines, name, text, "counter", [("", labels, value(counted)) for labels, counted in labelled])
    if options.counter_latencies:
        shown = [(_labels(version), version.statistics) for version in versions if version.has_response_cache]
        for name, text, value in MODEL_COUNTERS if shown else ():
            _family(lines, name, text, "counter", [("", labels, value(counted)) for labels, counted in shown])
    if options.histogram_latencies:
        for name, text, histogram in HISTOGRAMS:
            samples = [sample for labels, counted in labelled for sample in _buckets(labels, histogram(counted))]
            _family(lines, name, text, "histogram", samples)
    if options.summary_latencies:
        _summaries(lines, versions)
    _family(
        lines,
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        "gauge",
        [("", labels, counted.pending) for labels, counted in labelled],
    )
    _family(
        lines,
        "nv_model_load_duration_secs",
        "Model load time in seconds",
        "gauge",
        [("", labels, counted.load_seconds) for labels, counted in labelled],
    )
    _batching_by_length(lines, labelled)
    for name, amount in machine.items():
        _family(lines, name, _MACHINE[name], "gauge", [("", (), amount)])
    report = dataplane.cache_report()
    if report is not None:
        _response_cache(lines, report)
    _custom(lines, dataplane)
    return "\n".join(lines) + "\n"


def _summaries(lines: list[str], versions: Sequence[VersionStatistics]) -> None:
    for row in SUMMARIES:
        samples: list[Sample] = []
        for version in versions:
            summary = row.summary(version.statistics)
            if summary is not None and row.with_cache in (None, version.has_response_cache):
                samples += _quantiles(_labels(version), summary)
        if samples:
            _family(lines, row.name, row.text, "summary", samples)


def _batching_by_length(lines: list[str], labelled: Sequence[tuple[Labels, ModelStatistics]]) -> None:
    shown = [(labels, counted, counted.tokens) for labels, counted in labelled if counted.tokens is not None]
    if not shown:
        return
    for name, text, value in _TOKENS:
        _family(lines, name, text, "counter", [("", labels, value(tokens)) for labels, _, tokens in shown])
    samples = [sample for labels, counted, _ in shown for sample in _buckets(labels, counted.batch_sizes())]
    _family(lines, "slipway_batch_size", "Histogram of rows per model execution", "histogram", samples)


def _response_cache(lines: list[str], report: CacheReport) -> None:
    for name, kind, text, value in CACHE_METRICS:
        amount = value(report)
        if amount is not None:
            _family(lines, name, text, kind, [("", (), amount)])


def _custom(lines: list[str], dataplane: Dataplane) -> None:
    for family in dataplane.metrics.families():
        samples: list[Sample] = []
        for labels, metric in family.series():
            if metric.histogram is None:
                samples.append(("", labels, metric.value))
            else:
                samples += _buckets(labels, metric.histogram)
        _family(lines, family.name, family.description, family.kind, samples)


def _labels(version: VersionStatistics, reason: FailureReason | None = None) -> Labels:
    labels = {"model": version.name, "version": version.version}
    if version.namespace:
        labels["namespace"] = version.namespace
    if reason is not None:
        labels["reason"] = reason.value
    for key, value in (version.metric_tags or {}).items():
        labels[f"_{key}"] = value
    return sorted(labels.items())


def _buckets(labels: Labels, histogram: Histogram) -> Iterable[Sample]:
    counts = list(histogram.counts)
    yield "_count", labels, sum(counts)
    yield "_sum", labels, histogram.total
    seen = 0
    for bound, count in zip((*map(_number, histogram.bounds), "+Inf"), counts, strict=True):
        seen += count
        yield "_bucket", (*labels, ("le", bound)), seen


def _quantiles(labels: Labels, summary: Summary) -> Iterable[Sample]:
    yield "_count", labels, summary.count
    yield "_sum", labels, summary.total
    for rank, value in summary.values():
        yield "", (*labels, ("quantile", _number(rank))), value


def _family(lines: list[str], name: str, text: str, kind: str, samples: Iterable[Sample]) -> None:
    described = text.replace("\\", "\\\\").replace("\n", "\\n")
    lines.append(f"# HELP {name} {described}")
    lines.append(f"# TYPE {name} {kind}")
    for suffix, labels, value in samples:
        shown = ",".join(f'{key}="{label.translate(_ESCAPES)}"' for key, label in labels)
        lines.append(f"{name}{suffix}{{{shown}}} {_number(value)}" if shown else f"{name}{suffix} {_number(value)}")


def _number(value: float) -> str:
    """Return the shortest text for a number; integers have no decimal point, as in prometheus-cpp."""
    if not math.isfinite(value):
        return "Nan" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
