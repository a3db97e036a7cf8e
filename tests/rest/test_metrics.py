"""The metrics text, compared with the reference server's output."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slipway.core.quantiles import Quantile, Summary
from slipway.core.statistics import ModelStatistics, Timing
from slipway.engine.api import VersionStatistics
from slipway.errors import FailureReason
from slipway.response_cache.api import CacheReport, CacheStatistics
from slipway.rest.metrics import MetricsOptions, build_metrics_app, render
from slipway.rest.processor import ProcessorGauges
from tests.rest.conftest import serve
from tests.rest.models import dataplane

# Printed by tritonserver 2.51 after the same requests, except the histograms and the load time.
ONE_MODEL = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="echo",version="1"} 2
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="echo",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="echo",reason="CANCELED",version="1"} 0
nv_inference_request_failure{model="echo",reason="BACKEND",version="1"} 0
nv_inference_request_failure{model="echo",reason="OTHER",version="1"} 0
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="echo",version="1"} 3
# HELP nv_inference_exec_count Number of model executions performed (does not include cached requests)
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="echo",version="1"} 1
# HELP nv_inference_request_duration_us Cumulative inference request duration in microseconds (includes cached requests)
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{model="echo",version="1"} 6000
# HELP nv_inference_queue_duration_us Cumulative inference queuing duration in microseconds (includes cached requests)
# TYPE nv_inference_queue_duration_us counter
nv_inference_queue_duration_us{model="echo",version="1"} 200
# HELP nv_inference_compute_input_duration_us Cumulative compute input duration in microseconds \
(does not include cached requests)
# TYPE nv_inference_compute_input_duration_us counter
nv_inference_compute_input_duration_us{model="echo",version="1"} 400
# HELP nv_inference_compute_infer_duration_us Cumulative compute inference duration in microseconds \
(does not include cached requests)
# TYPE nv_inference_compute_infer_duration_us counter
nv_inference_compute_infer_duration_us{model="echo",version="1"} 4000
# HELP nv_inference_compute_output_duration_us Cumulative inference compute output duration in microseconds \
(does not include cached requests)
# TYPE nv_inference_compute_output_duration_us counter
nv_inference_compute_output_duration_us{model="echo",version="1"} 400
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="echo",version="1"} 4
# HELP nv_model_load_duration_secs Model load time in seconds
# TYPE nv_model_load_duration_secs gauge
nv_model_load_duration_secs{model="echo",version="1"} 0.25
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.5
"""


@pytest.fixture
def plane():
    made = dataplane()
    made.models = {"echo": made.models["echo"]}
    return made


def lines(plane, options=None):
    return render(plane, {}, options or MetricsOptions()).splitlines()


def test_the_text_is_tritons(plane):
    counted = plane.statistics["echo"]
    timing = Timing(100_000, 300_000, 2_300_000, 2_500_000)
    counted.record_execution(3, timing, 1)
    for _ in range(2):
        counted.record_success(0, timing, 3_000_000)
    counted.record_failure(0, FailureReason.REJECTED)
    counted.pending = 4
    counted.load_seconds = 0.25
    options = MetricsOptions(histogram_latencies=False)
    assert render(plane, {"nv_cpu_utilization": 0.5}, options) == ONE_MODEL


def test_histograms_are_cumulative_and_end_at_infinity(plane):
    timing = Timing(0, 0, 0, 0)
    for end in (500_000, 1_000_000, 3_000_000, 999_000_000):
        plane.statistics["echo"].record_success(0, timing, end)
    name = "nv_inference_request_duration_histogram_us"
    assert [line for line in lines(plane) if line.startswith(name)] == [
        f'{name}_count{{model="echo",version="1"}} 4',
        f'{name}_sum{{model="echo",version="1"}} 1003500',
        f'{name}_bucket{{model="echo",version="1",le="1000"}} 2',
        f'{name}_bucket{{model="echo",version="1",le="5000"}} 3',
        f'{name}_bucket{{model="echo",version="1",le="25000"}} 3',
        f'{name}_bucket{{model="echo",version="1",le="50000"}} 3',
        f'{name}_bucket{{model="echo",version="1",le="100000"}} 3',
        f'{name}_bucket{{model="echo",version="1",le="+Inf"}} 4',
    ]


def test_there_are_six_histograms_by_default(plane):
    assert sum(line.endswith(" histogram") for line in lines(plane)) == 6


def test_latencies_can_be_left_out(plane):
    text = "\n".join(lines(plane, MetricsOptions(counter_latencies=False, histogram_latencies=False)))
    assert "duration_us" not in text
    assert "histogram" not in text


COMPUTE_INFER = "Cumulative compute inference duration in microseconds (does not include cached requests)"


def summarised(*, response_cache):
    """Return a plane with one model that keeps summaries, after two requests, a cache hit and a miss."""
    plane = dataplane()
    counted = ModelStatistics(summarise=lambda: Summary((Quantile(0.5, 0.05), Quantile(0.999, 0.001)), lambda: 0))
    timing = Timing(100_000, 300_000, 2_300_000, 2_500_000)
    for _ in range(2):
        counted.record_success(0, timing, 3_000_000)
    counted.record_cache_hit(0, 10_000, 30_000)
    counted.cache_miss.add(50_000)
    plane.model_statistics = lambda *_: [VersionStatistics("m", "1", counted, has_response_cache=response_cache)]
    return plane


SUMMARIES = MetricsOptions(summary_latencies=True, histogram_latencies=False)


def test_a_summary_has_count_sum_and_quantiles():
    found = lines(summarised(response_cache=False), SUMMARIES)
    start = found.index("# TYPE nv_inference_compute_infer_summary_us summary")
    assert found[start - 1 : start + 5] == [
        f"# HELP nv_inference_compute_infer_summary_us {COMPUTE_INFER}",
        "# TYPE nv_inference_compute_infer_summary_us summary",
        'nv_inference_compute_infer_summary_us_count{model="m",version="1"} 2',
        'nv_inference_compute_infer_summary_us_sum{model="m",version="1"} 4000',
        'nv_inference_compute_infer_summary_us{model="m",version="1",quantile="0.5"} 2000',
        'nv_inference_compute_infer_summary_us{model="m",version="1",quantile="0.999"} 2000',
    ]


@pytest.mark.parametrize(
    ("response_cache", "shown"),
    {
        False: {"nv_inference_request_summary_us": 3},
        True: {"nv_cache_hit_summary_per_model": 1, "nv_cache_miss_summary_per_model": 1},
    }.items(),
)
def test_a_model_with_a_response_cache_has_other_summaries(response_cache, shown):
    expected = {
        "nv_inference_queue_summary_us": 3,
        "nv_inference_compute_input_summary_us": 2,
        "nv_inference_compute_infer_summary_us": 2,
        "nv_inference_compute_output_summary_us": 2,
        **shown,
    }
    label = '_count{model="m",version="1"} '
    counts = [
        line.split(label) for line in lines(summarised(response_cache=response_cache), SUMMARIES) if label in line
    ]
    assert {name: int(count) for name, count in counts if "summary" in name} == expected


def test_summaries_are_shown_only_where_they_are_kept(plane):
    assert not any("summary" in line for line in lines(plane, SUMMARIES))
    assert not any("summary" in line for line in lines(summarised(response_cache=True)))


def test_tags_are_labels_sorted_with_the_others_and_escaped(plane):
    tags = {"tag": 'a"b\\c\nd'}
    plane.model_statistics = lambda *_: [VersionStatistics("m", "1", plane.statistics["echo"], metric_tags=tags)]
    assert 'nv_inference_count{_tag="a\\"b\\\\c\\nd",model="m",version="1"} 0' in lines(plane)


def test_a_namespace_is_a_label_of_all_metrics_of_a_model(plane):
    plane.model_statistics = lambda *_: [VersionStatistics("m", "1", plane.statistics["echo"], namespace="/models/a")]
    found = [line for line in lines(plane) if line.startswith("nv_inference") and "{" in line]
    assert 'nv_inference_count{model="m",namespace="/models/a",version="1"} 0' in found
    assert found
    assert all('namespace="/models/a"' in line for line in found)


def test_families_of_models_are_shown(plane):
    plane.metrics.family("my_total", "What I count", "counter").metric({"b": "2", "a": "1"}).increment(2.5)
    plane.metrics.family("my_state", "What I hold", "gauge").metric({}).set(float("inf"))
    plane.metrics.family("my_spread", "What I see", "histogram").metric({"a": "1"}, [0.5, 2]).observe(1)
    found = lines(plane)
    start = found.index("# HELP my_total What I count")
    assert found[start:] == [
        "# HELP my_total What I count",
        "# TYPE my_total counter",
        'my_total{a="1",b="2"} 2.5',
        "# HELP my_state What I hold",
        "# TYPE my_state gauge",
        "my_state +Inf",
        "# HELP my_spread What I see",
        "# TYPE my_spread histogram",
        'my_spread_count{a="1"} 1',
        'my_spread_sum{a="1"} 1',
        'my_spread_bucket{a="1",le="0.5"} 0',
        'my_spread_bucket{a="1",le="2"} 1',
        'my_spread_bucket{a="1",le="+Inf"} 1',
    ]


def test_the_listener_serves_nothing_but_metrics(plane):
    with serve(plane, build_metrics_app(plane)) as running:
        answer = running.ask("GET", "/metrics")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert b"\nnv_cpu_memory_total_bytes " in answer.body
        assert running.ask("GET", "/metrics/").body
        other = running.ask("GET", "/v2")
        assert (other.status, other.body) == (200, b"")
        refused = running.ask("POST", "/metrics")
        assert (refused.status, json.loads(refused.body)) == (405, {"error": "Method Not Allowed"})


def test_the_processor_is_gauged_between_two_readings():
    gauges = ProcessorGauges()
    for _ in range(2):
        found = gauges.read()
        assert 0.0 <= found["nv_cpu_utilization"] <= 1.0
        assert 0 < found["nv_cpu_memory_used_bytes"] < found["nv_cpu_memory_total_bytes"]


def test_the_response_cache_is_shown_where_a_model_enables_it(plane, monkeypatch):
    found = plane.model_statistics
    monkeypatch.setattr(
        plane,
        "model_statistics",
        lambda name, version: [replace(each, has_response_cache=each.name == "echo") for each in found(name, version)],
    )
    statistics = plane.statistics["echo"]
    statistics.record_cache_hit(0, 1_000, 13_000)
    statistics.cache_miss.add(7_999)
    plane.cache = CacheReport(CacheStatistics(3, 2, 1, 4, 19_000, 5_000), 7, 0.25)
    shown = [line for line in lines(plane) if "nv_cache" in line or "slipway_cache" in line]
    # Printed by tritonserver 2.51, except the last family.
    assert shown == [
        "# HELP nv_cache_num_hits_per_model Number of cache hits per model",
        "# TYPE nv_cache_num_hits_per_model counter",
        'nv_cache_num_hits_per_model{model="echo",version="1"} 1',
        "# HELP nv_cache_hit_duration_per_model Total cache hit duration per model, in microseconds",
        "# TYPE nv_cache_hit_duration_per_model counter",
        'nv_cache_hit_duration_per_model{model="echo",version="1"} 12',
        "# HELP nv_cache_num_misses_per_model Number of cache misses per model",
        "# TYPE nv_cache_num_misses_per_model counter",
        'nv_cache_num_misses_per_model{model="echo",version="1"} 1',
        "# HELP nv_cache_miss_duration_per_model Total cache miss (insert+lookup) duration per model, in microseconds",
        "# TYPE nv_cache_miss_duration_per_model counter",
        'nv_cache_miss_duration_per_model{model="echo",version="1"} 7',
        "# HELP nv_cache_util Cache utilization [0.0 - 1.0]",
        "# TYPE nv_cache_util gauge",
        "nv_cache_util 0.25",
        "# HELP nv_cache_num_entries Number of responses stored in response cache",
        "# TYPE nv_cache_num_entries gauge",
        "nv_cache_num_entries 7",
        "# HELP nv_cache_num_hits Number of cache hits in response cache",
        "# TYPE nv_cache_num_hits gauge",
        "nv_cache_num_hits 3",
        "# HELP nv_cache_num_misses Number of cache misses in response cache",
        "# TYPE nv_cache_num_misses gauge",
        "nv_cache_num_misses 2",
        "# HELP nv_cache_num_lookups Number of cache lookups in response cache",
        "# TYPE nv_cache_num_lookups gauge",
        "nv_cache_num_lookups 5",
        "# HELP nv_cache_num_evictions Number of cache evictions in response cache",
        "# TYPE nv_cache_num_evictions gauge",
        "nv_cache_num_evictions 1",
        "# HELP nv_cache_lookup_duration Total cache lookup duration (hit and miss), in microseconds",
        "# TYPE nv_cache_lookup_duration gauge",
        "nv_cache_lookup_duration 19",
        "# HELP nv_cache_insertion_duration Total cache insertion duration, in microseconds",
        "# TYPE nv_cache_insertion_duration gauge",
        "nv_cache_insertion_duration 5",
        "# HELP slipway_cache_failure_count Number of look-ups and insertions that the response cache could not do",
        "# TYPE slipway_cache_failure_count counter",
        "slipway_cache_failure_count 4",
    ]


def test_a_cache_in_redis_shows_what_this_server_knows(plane):
    plane.cache = CacheReport(CacheStatistics())
    shown = "\n".join(lines(plane))
    assert "\nnv_cache_num_hits 0" in shown
    for name in ("nv_cache_util", "nv_cache_num_entries", "nv_cache_num_evictions"):
        assert name not in shown
    assert "per_model" not in shown.replace("pending requests awaiting execution per-model", "")
