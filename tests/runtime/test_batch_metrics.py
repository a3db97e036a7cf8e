"""A running batch is reported by one of the models that share its engine, in full and only once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from slipway.runtime.batch_metrics import BatchMetrics, BatchReport
from slipway.transformer.paged.stats import RunningCounters, RunningStats


class Series:
    """A metric that remembers its value."""

    def __init__(self, values: dict[str, float], name: str) -> None:
        self._values = values
        self._name = name
        values.setdefault(name, 0.0)

    def set(self, value: float) -> None:
        self._values[self._name] = value

    def increment(self, amount: float) -> None:
        assert amount > 0
        self._values[self._name] += amount


class Families:
    """Stands for `pb_utils.MetricFamily`; `values` are those of all metrics by name and model."""

    COUNTER, GAUGE = "counter", "gauge"

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def __call__(self, name: str, description: str, kind: Any) -> Any:
        values = self.values

        class Family:
            def Metric(self, labels: Mapping[str, str]) -> Series:  # noqa: N802  Triton's name
                assert description
                assert (kind == "counter") == name.endswith("_total")
                return Series(values, f"{name}/{labels['model_name']}")

        return Family()


class Engine:
    """An engine whose figures a test chooses."""

    def __init__(self) -> None:
        self.counters = RunningCounters()
        self.running = 0
        self.batch = True

    def stats(self) -> RunningStats | None:
        if not self.batch:
            return None
        return self.counters.snapshot(running=self.running, waiting=2, pages_used=1, pages_total=4, page_size=16)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def families() -> Families:
    return Families()


def test_figures_of_a_moment_are_gauges_and_those_that_grow_counters(engine, families):
    metrics = BatchMetrics(engine, BatchReport(), families, "m-completions")
    engine.running, engine.counters.prompt_tokens, engine.counters.cached_tokens = 3, 70, 32
    metrics.update()
    engine.running, engine.counters.prompt_tokens, engine.counters.preemptions = 1, 100, 2
    metrics.update()
    assert families.values == {
        "vllm:num_requests_running/m": 1,
        "vllm:num_requests_waiting/m": 2,
        "vllm:kv_cache_usage_perc/m": 0.25,
        "vllm:gpu_cache_usage_perc/m": 0.25,
        "vllm:prefix_cache_queries_total/m": 100,
        "vllm:prefix_cache_hits_total/m": 32,
        "vllm:num_preemptions_total/m": 2,
    }


def test_an_engine_without_a_running_batch_has_no_metrics(engine, families):
    engine.batch = False
    BatchMetrics(engine, BatchReport(), families, "m").update()
    assert families.values == {}


def test_one_of_several_instances_reports_and_another_goes_on_after_it(engine, families):
    report = BatchReport()
    first, second = (BatchMetrics(engine, report, families, "m") for _ in range(2))
    engine.counters.prompt_tokens = 10
    first.start()
    second.start()
    assert families.values["vllm:prefix_cache_queries_total/m"] == 10
    first.close()
    engine.counters.prompt_tokens = 15
    second.update()
    assert families.values["vllm:prefix_cache_queries_total/m"] == 15
    second.close()
    assert report.owner is None
