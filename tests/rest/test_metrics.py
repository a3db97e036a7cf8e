"""The metrics text, compared with the reference server's output."""

from __future__ import annotations

import json

import pytest

from slipway.core.statistics import Timing
from slipway.engine.api import VersionStatistics
from slipway.errors import FailureReason
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


def test_tags_are_labels_sorted_with_the_others_and_escaped(plane):
    tags = {"tag": 'a"b\\c\nd'}
    plane.model_statistics = lambda *_: [VersionStatistics("m", "1", plane.statistics["echo"], metric_tags=tags)]
    assert 'nv_inference_count{_tag="a\\"b\\\\c\\nd",model="m",version="1"} 0' in lines(plane)


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
