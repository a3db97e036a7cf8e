"""Counters add up what executions and requests report."""

from __future__ import annotations

import pytest

from slipway.core.metrics import MetricRegistry
from slipway.core.statistics import Histogram, ModelStatistics, Timing, TokenCount, padding_share
from slipway.errors import FailureReason, SlipwayError


def test_a_request_is_split_into_its_phases():
    statistics = ModelStatistics()
    statistics.record_success(100, Timing(110, 115, 145, 150), 160)
    totals = (statistics.success, statistics.queue, statistics.compute_input, statistics.compute_infer)
    assert [(total.count, total.ns) for total in totals] == [(1, 60), (1, 10), (1, 5), (1, 30)]
    assert statistics.compute_output.ns == 5


def test_phases_have_histograms_in_microseconds():
    statistics = ModelStatistics()
    for milliseconds in (1, 2, 200):
        end = milliseconds * 1_000_000
        statistics.record_success(0, Timing(50_000, 150_000, 250_001, 250_001), end)
    total = statistics.success.histogram()
    assert total.counts == [1, 1, 0, 0, 0, 1]
    assert total.total == 203_000.0
    assert statistics.queue.histogram().counts == [3, 0, 0, 0, 0, 0]
    assert statistics.compute_input.histogram().counts == [3, 0, 0, 0, 0, 0]  # bounds are inclusive
    assert statistics.compute_infer.histogram().counts == [3, 0, 0, 0, 0, 0]
    assert statistics.compute_infer.histogram().total == 300.003


def test_executions_count_rows_per_batch_size():
    statistics = ModelStatistics()
    for _ in range(2):
        statistics.record_execution(4, Timing(0, 1, 3, 4), 99)
    assert (statistics.execution_count, statistics.inference_count, statistics.last_inference_ms) == (2, 8, 99)
    assert statistics.batches[4].compute_infer.ns == 4


def test_failures_are_counted_by_reason():
    statistics = ModelStatistics()
    statistics.record_failure(5, FailureReason.BACKEND)
    assert statistics.failures[FailureReason.BACKEND] == 1
    assert statistics.fail.count == 1


def test_bucket_bounds_are_inclusive():
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.counts == [1, 2, 1]
    assert histogram.total == 7.5


def test_batch_sizes_are_shown_by_powers_of_two():
    statistics = ModelStatistics()
    for rows in (1, 1, 3, 4, 2000):
        statistics.record_execution(rows, Timing(0, 1, 3, 4), 99)
    histogram = statistics.batch_sizes()
    assert histogram.bounds[:4] == (1, 2, 4, 8)
    assert histogram.counts == [2, 0, 2, *[0] * 8, 1]
    assert histogram.total == 2009


def test_the_share_of_padding_is_of_all_tokens():
    statistics = ModelStatistics()
    assert padding_share(statistics) == 0
    statistics.tokens = TokenCount(own=90, padding=10)
    assert padding_share(statistics) == 0.1


def test_a_series_lives_while_somebody_uses_it():
    registry = MetricRegistry()
    family = registry.family("requests", "how many", "counter")
    first, second = family.metric({"a": "1"}), family.metric({"a": "1"})
    first.increment(2)
    assert second.value == 2
    family.release({"a": "1"})
    assert registry.families() == [family]
    family.release({"a": "1"})
    assert registry.families() == []


def test_misused_metrics_are_refused():
    registry = MetricRegistry()
    counter = registry.family("c", "", "counter").metric({})
    with pytest.raises(SlipwayError):
        counter.increment(-1)
    with pytest.raises(SlipwayError):
        counter.set(1)
    with pytest.raises(SlipwayError):
        counter.observe(1)
    with pytest.raises(SlipwayError, match="exists with kind 'counter'"):
        registry.family("c", "", "gauge")
