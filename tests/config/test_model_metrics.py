"""A model chooses the buckets of its histograms."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.model_metrics import bucket_overrides, bucket_problems, unknown_families
from slipway.core.statistics import FIRST_RESPONSE_MS, QUEUE_US, ModelStatistics


def config(*controls):
    text = "".join(
        f'metric_control {{ metric_identifier {{ family: "{family}" }} histogram_options {{ buckets: {buckets} }} }} '
        for family, buckets in controls
    )
    return text_format.Parse(f"model_metrics {{ {text} }}", model_config_pb2.ModelConfig())


def test_the_buckets_of_a_family_are_replaced_and_the_last_choice_counts():
    chosen = bucket_overrides(config((FIRST_RESPONSE_MS, [1, 2]), (QUEUE_US, [7]), (FIRST_RESPONSE_MS, [0.5, 3])))
    assert chosen == {FIRST_RESPONSE_MS: (0.5, 3.0), QUEUE_US: (7.0,)}
    statistics = ModelStatistics(chosen)
    assert statistics.first_response_histogram_ms.bounds == (0.5, 3.0)
    assert statistics.queue.histogram().bounds == (7.0,)
    assert ModelStatistics().first_response_histogram_ms.bounds == (100.0, 500.0, 2000.0, 5000.0)


@pytest.mark.parametrize("buckets", ["[2, 1]", "[1, 1]", "[1, inf]", "[nan]"])
def test_buckets_are_finite_and_ascending(buckets):
    [problem] = bucket_problems(config((FIRST_RESPONSE_MS, buckets)))
    assert "are not finite and strictly sorted" in problem.text
    assert problem.path[:3] == ("model_metrics", "metric_control", 0)


def test_an_unknown_family_is_named_with_the_nearest_known_one_and_has_no_effect():
    odd = config(("nv_inference_first_response_histogram", [1]), (QUEUE_US, [1]), ("mine", [2, 1]))
    first, second = unknown_families(odd)
    assert first.text == (
        "Metric family 'nv_inference_first_response_histogram' in 'metric_identifier' is not a customizable metric in "
        "Triton core."
    )
    assert first.fix == f"write '{FIRST_RESPONSE_MS}'"
    assert second.fix.startswith("write one of ")
    assert list(bucket_problems(odd)) == []
    assert bucket_overrides(odd) == {QUEUE_US: (1.0,)}
