"""What answers took is counted under vLLM's names: the first text and pauses of streams, and the end of every one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from slipway.core.metrics import MetricRegistry
from slipway.rest.openai import generation_metrics
from slipway.rest.openai.generation_metrics import GenerationMetrics

END = {"finish_reason": "stop", "tokens": 7, "log_probability": -1.0}


class Counted:
    """The metrics of answers at moments that a test chooses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = MetricRegistry()
        self.now = 0.0
        self.metrics = GenerationMetrics()
        monkeypatch.setattr(generation_metrics, "time", SimpleNamespace(monotonic=lambda: self.now))

    def begin(self, model: str = "m", **settings: Any) -> generation_metrics.AnswerTimes:
        return self.metrics.begin(self.registry, model, self.now, **{"prompts": 5, "sequences": 1, **settings})

    def values(self, name: str) -> dict[str, float]:
        """Return counters by reason or model, and the numbers of observations of histograms."""
        (family,) = [each for each in self.registry.families() if each.name == f"vllm:{name}"]
        found = {}
        for labels, metric in family.series():
            label = dict(labels).get("finished_reason", dict(labels)["model_name"])
            found[label] = metric.value if metric.histogram is None else sum(metric.histogram.counts)
        return found

    def total(self, name: str) -> float:
        (family,) = [each for each in self.registry.families() if each.name == f"vllm:{name}"]
        return sum(metric.histogram.total for _, metric in family.series() if metric.histogram)


@pytest.fixture
def counted(monkeypatch) -> Counted:
    return Counted(monkeypatch)


def test_a_stream_has_a_first_text_and_pauses(counted):
    times = counted.begin()
    for moment, event in ((0.5, {"text": "a"}), (0.6, {"text": "b"}), (0.9, {"text": "", **END})):
        counted.now = moment
        times.note(0, event, streams=True)
    times.end()
    assert counted.total("time_to_first_token_seconds") == 0.5
    for name in ("inter_token_latency_seconds", "time_per_output_token_seconds"):
        assert counted.values(name) == {"m": 1}
        assert counted.total(name) == pytest.approx(0.1)
    assert counted.total("e2e_request_latency_seconds") == 0.9
    assert counted.values("prompt_tokens_total") == {"m": 5}
    assert counted.values("generation_tokens_total") == {"m": 7}
    assert counted.values("request_success_total") == {"stop": 1}


def test_an_answer_in_one_piece_has_only_an_end(counted):
    times = counted.begin()
    counted.now = 2.0
    times.note(0, {"text": "abc", **END}, streams=False)
    times.end()
    assert counted.values("time_to_first_token_seconds") == {"m": 0}
    assert counted.values("inter_token_latency_seconds") == {"m": 0}
    assert counted.total("e2e_request_latency_seconds") == 2.0


def test_sequences_that_did_not_end_are_counted_once_as_aborted(counted):
    times = counted.begin(sequences=3)
    times.note(1, {"text": "", **END, "finish_reason": "length"}, streams=True)
    times.end()
    times.end()
    assert counted.values("request_success_total") == {"length": 1, "abort": 2}


def test_models_are_counted_apart(counted):
    for model in ("m", "n", "m"):
        counted.begin(model).end()
    assert counted.values("prompt_tokens_total") == {"m": 10, "n": 5}
