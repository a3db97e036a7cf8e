"""Reports what an engine's running batch counts as metrics that a Python model defines, under the names that dashboards
for vLLM use. Works wherever `pb_utils.MetricFamily` does, in NVIDIA Triton too.

Several models, and several instances of one, may share an engine: one of them reports it, and another one goes on when
that one is closed. Source of names: vLLM's documentation, "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, Final, Protocol

from slipway.transformer.paged.stats import RunningStats

_EVERY_S: Final = 1.0
_SUFFIX: Final = "-completions"  # of models that conversions name; clients know the model without it


@dataclass(frozen=True, slots=True)
class BatchFigure:
    """One figure: the names of its families, their help text, and its value. `grows` says that it is a counter."""

    names: tuple[str, ...]
    text: str
    value: Callable[[RunningStats], float]
    grows: bool = False


FIGURES: Final = (
    BatchFigure(("vllm:num_requests_running",), "Number of sequences that are being computed", lambda s: s.running),
    BatchFigure(("vllm:num_requests_waiting",), "Number of sequences that wait for a place", lambda s: s.waiting),
    BatchFigure(
        ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        "Share of the pages of the key-value cache that is used, from 0 to 1",
        lambda s: s.usage,
    ),
    BatchFigure(
        ("vllm:prefix_cache_queries_total",),
        "Number of prompt tokens that were looked up in the prefix cache",
        lambda s: s.prompt_tokens,
        grows=True,
    ),
    BatchFigure(
        ("vllm:prefix_cache_hits_total",),
        "Number of prompt tokens that were found in the prefix cache",
        lambda s: s.cached_tokens,
        grows=True,
    ),
    BatchFigure(
        ("vllm:num_preemptions_total",),
        "Number of times that a sequence gave its pages back, to be computed again",
        lambda s: s.preemptions,
        grows=True,
    ),
)


class BatchSource(Protocol):
    """An engine, as far as it is reported."""

    def stats(self) -> RunningStats | None:
        """Return the figures of its running batch, None if it has none."""


class Families(Protocol):
    """`pb_utils.MetricFamily`."""

    COUNTER: Any
    GAUGE: Any

    def __call__(self, name: str, description: str, kind: Any) -> Any:
        """Return a family, which makes metrics of labels with `Metric`."""


@dataclass(slots=True)
class BatchReport:
    """Who reports an engine, and the counts that have been reported."""

    owner: BatchMetrics | None = None
    counts: dict[str, float] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


class BatchMetrics:
    """The metrics of an engine's running batch, updated once a second until `close`."""

    def __init__(self, source: BatchSource, report: BatchReport, families: Families, model: str) -> None:
        self._source = source
        self._report = report
        self._families = families
        self._labels: Mapping[str, str] = {"model_name": model.removesuffix(_SUFFIX)}
        self._series: dict[str, Any] = {}
        self._shown: dict[str, float] = {}
        self._ended = Event()
        self._thread = Thread(target=self._run, name="batch-metrics", daemon=True)

    def start(self) -> None:
        """Report from now on; raise what `pb_utils` raises if metrics cannot be defined."""
        self.update()
        self._thread.start()

    def close(self) -> None:
        """Stop; the metrics disappear unless another model goes on reporting them."""
        self._ended.set()
        self._thread.join()
        with self._report.lock:
            if self._report.owner is self:
                self._report.owner = None
        self._series.clear()

    def update(self) -> None:
        """Report the figures of this moment, unless another model reports the engine."""
        with self._report.lock:
            if self._report.owner not in (None, self):
                return
            stats = self._source.stats()
            if stats is None:
                return
            self._report.owner = self
            for figure in FIGURES:
                for name in figure.names:
                    self._show(name, figure, figure.value(stats))

    def _show(self, name: str, figure: BatchFigure, value: float) -> None:
        series = self._series.get(name)
        if series is None:
            kind = self._families.COUNTER if figure.grows else self._families.GAUGE
            family = self._families(name=name, description=figure.text, kind=kind)
            series = self._series[name] = family.Metric(labels=dict(self._labels))
        if figure.grows:
            if more := value - self._report.counts.get(name, 0.0):
                series.increment(more)
                self._report.counts[name] = value
        elif self._shown.get(name) != value:
            series.set(value)
            self._shown[name] = value

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.update()
