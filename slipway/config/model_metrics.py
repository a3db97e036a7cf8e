"""`model_metrics` of config.pbtxt: a model's own buckets for the histograms of its latencies. Pure.

Triton lets a model choose the buckets of one family; here it may do so for each family of histograms. A family that is
unknown is reported and has no effect, as in Triton (`metric_model_reporter.cc`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import pairwise

from tritonclient.grpc import model_config_pb2

from slipway.core.statistics import DEFAULT_BUCKETS, Bounds
from slipway.problems import FieldPath, Problem, Rule


def bucket_overrides(config: model_config_pb2.ModelConfig) -> dict[str, Bounds]:
    """Return the buckets (upper bounds) that a model chooses, by family; the last choice for a family counts."""
    controls = config.model_metrics.metric_control
    chosen = {control.metric_identifier.family: tuple(control.histogram_options.buckets) for control in controls}
    return {family: bounds for family, bounds in chosen.items() if family in DEFAULT_BUCKETS}


def bucket_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the buckets that a histogram cannot have."""
    for path, family, bounds in _controls(config):
        if family not in DEFAULT_BUCKETS:
            continue
        ascending = all(low < high for low, high in pairwise(bounds))
        if not ascending or not all(map(math.isfinite, bounds)):
            text = f"buckets {list(bounds)} of metric family '{family}' are not finite and strictly sorted"
            fix = "write finite bounds in ascending order, without duplicates; the bucket +Inf is added"
            yield Problem(Rule.CONFIG_INVALID, text, (*path, "histogram_options", "buckets"), fix)


def unknown_families(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the families whose buckets cannot be chosen, in Triton's words."""
    for path, family, _ in _controls(config):
        if family in DEFAULT_BUCKETS:
            continue
        close = get_close_matches(family, DEFAULT_BUCKETS, 1)
        text = f"Metric family '{family}' in 'metric_identifier' is not a customizable metric in Triton core."
        fix = f"write '{close[0]}'" if close else f"write one of {', '.join(DEFAULT_BUCKETS)}, or remove it"
        yield Problem(Rule.WITHOUT_EFFECT, text, (*path, "metric_identifier", "family"), fix)


def _controls(config: model_config_pb2.ModelConfig) -> Iterator[tuple[FieldPath, str, Bounds]]:
    for index, control in enumerate(config.model_metrics.metric_control):
        path = ("model_metrics", "metric_control", index)
        yield path, control.metric_identifier.family, tuple(control.histogram_options.buckets)
