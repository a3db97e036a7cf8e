"""What answers of generated text took, under the names that dashboards for vLLM use; beside the server's own metrics.

Counted where the routes of OpenAI's API answer, so for every engine, and from the client's side: the template, the
tokenizer and the queue are part of a request. Only what is seen there is counted: the first token and the pauses of
answers that are streamed. Source of names: vLLM's documentation, "Metrics".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from slipway.core.metrics import Metric, MetricRegistry

_MODEL: Final = "model_name"
_REASON: Final = "finished_reason"
_ABORTED: Final = "abort"  # the client left, or another sequence of its request failed
# Upper bounds of buckets in seconds: to the first token, between two tokens, and of requests.
_FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
_PAUSE: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
_WHOLE: Final = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
# Families: name, help text, kind, buckets.
_PROMPT: Final = ("vllm:prompt_tokens_total", "Number of prompt tokens processed", "counter", ())
_GENERATED: Final = ("vllm:generation_tokens_total", "Number of generated tokens", "counter", ())
_FIRST_TOKEN: Final = (
    "vllm:time_to_first_token_seconds",
    "Seconds from the arrival of a streamed request to the first text of a sequence",
    "histogram",
    _FIRST,
)
_BETWEEN: Final = (
    "vllm:inter_token_latency_seconds",
    "Seconds between two pieces of text of a streamed sequence",
    "histogram",
    _PAUSE,
)
_BETWEEN_FORMERLY: Final = ("vllm:time_per_output_token_seconds", *_BETWEEN[1:])
_REQUEST: Final = (
    "vllm:e2e_request_latency_seconds",
    "Seconds from the arrival of a request to the end of a sequence",
    "histogram",
    _WHOLE,
)
_FINISHED: Final = ("vllm:request_success_total", "Number of sequences that ended, by reason", "counter", ())

Family = tuple[str, str, str, tuple[float, ...]]


def _series(registry: MetricRegistry, family: Family, **labels: str) -> Metric:
    name, text, kind, bounds = family
    return registry.family(name, text, kind).metric(labels, bounds)


@dataclass(slots=True)
class ModelSeries:
    """The series of one model."""

    registry: MetricRegistry
    model: str
    prompt: Metric = field(init=False)
    generated: Metric = field(init=False)
    first: Metric = field(init=False)
    between: tuple[Metric, ...] = field(init=False)
    whole: Metric = field(init=False)
    finished: dict[str, Metric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompt = self._of(_PROMPT)
        self.generated = self._of(_GENERATED)
        self.first = self._of(_FIRST_TOKEN)
        self.between = (self._of(_BETWEEN), self._of(_BETWEEN_FORMERLY))
        self.whole = self._of(_REQUEST)

    def _of(self, family: Family, **labels: str) -> Metric:
        return _series(self.registry, family, **{_MODEL: self.model, **labels})

    def reason(self, name: str) -> Metric:
        """Return the counter of the sequences that ended for a reason."""
        found = self.finished.get(name)
        if found is None:
            found = self.finished[name] = self._of(_FINISHED, **{_REASON: name})
        return found


class GenerationMetrics:
    """The series of all models that have answered."""

    def __init__(self) -> None:
        self._models: dict[str, ModelSeries] = {}

    def begin(self, registry: MetricRegistry, model: str, arrival: float, prompts: int, sequences: int) -> AnswerTimes:
        """Count a request that arrived at `arrival` (`time.monotonic`), whose prompts have that many tokens."""
        series = self._models.get(model)
        if series is None:
            series = self._models[model] = ModelSeries(registry, model)
        series.prompt.increment(prompts)
        return AnswerTimes(series, arrival, sequences)


class AnswerTimes:
    """The times of one answer. `note` is called with every event, and `end` when the request is over."""

    __slots__ = ("_arrival", "_last", "_open", "_series")

    def __init__(self, series: ModelSeries, arrival: float, sequences: int) -> None:
        self._series = series
        self._arrival = arrival
        self._open = sequences
        self._last: dict[int, float] = {}

    def note(self, place: int, event: Mapping[str, Any], *, streams: bool) -> None:
        """Count an event of a sequence."""
        now, series = time.monotonic(), self._series
        if streams and event["text"]:
            last = self._last.get(place)
            if last is None:
                series.first.observe(now - self._arrival)
            else:
                for metric in series.between:
                    metric.observe(now - last)
            self._last[place] = now
        if "finish_reason" in event:
            self._open -= 1
            series.generated.increment(event["tokens"])
            series.whole.observe(now - self._arrival)
            series.reason(event["finish_reason"]).increment(1)

    def end(self) -> None:
        """Count the sequences that did not end by themselves."""
        if self._open:
            self._series.reason(_ABORTED).increment(self._open)
            self._open = 0
