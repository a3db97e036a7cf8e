"""The metrics of the response cache: names and texts as tritonserver and its local cache write them. Tables only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slipway.core.statistics import ModelStatistics
from slipway.response_cache.api import CacheReport

# Of each model that enables the cache.
MODEL_COUNTERS: Final[tuple[tuple[str, str, Callable[[ModelStatistics], float]], ...]] = (
    ("nv_cache_num_hits_per_model", "Number of cache hits per model", lambda counted: counted.cache_hit.count),
    (
        "nv_cache_hit_duration_per_model",
        "Total cache hit duration per model, in microseconds",
        lambda counted: counted.cache_hit.ns // 1000,
    ),
    ("nv_cache_num_misses_per_model", "Number of cache misses per model", lambda counted: counted.cache_miss.count),
    (
        "nv_cache_miss_duration_per_model",
        "Total cache miss (insert+lookup) duration per model, in microseconds",
        lambda counted: counted.cache_miss.ns // 1000,
    ),
)
# Of the cache; None where only the server of the cache knows. Triton's are gauges, though they count.
CACHE_METRICS: Final[tuple[tuple[str, str, str, Callable[[CacheReport], float | None]], ...]] = (
    ("nv_cache_util", "gauge", "Cache utilization [0.0 - 1.0]", lambda report: report.utilization),
    ("nv_cache_num_entries", "gauge", "Number of responses stored in response cache", lambda report: report.entries),
    ("nv_cache_num_hits", "gauge", "Number of cache hits in response cache", lambda report: report.statistics.hits),
    (
        "nv_cache_num_misses",
        "gauge",
        "Number of cache misses in response cache",
        lambda report: report.statistics.misses,
    ),
    (
        "nv_cache_num_lookups",
        "gauge",
        "Number of cache lookups in response cache",
        lambda report: report.statistics.hits + report.statistics.misses,
    ),
    (
        "nv_cache_num_evictions",
        "gauge",
        "Number of cache evictions in response cache",
        lambda report: None if report.entries is None else report.statistics.evictions,
    ),
    (
        "nv_cache_lookup_duration",
        "gauge",
        "Total cache lookup duration (hit and miss), in microseconds",
        lambda report: report.statistics.lookup_ns // 1000,
    ),
    (
        "nv_cache_insertion_duration",
        "gauge",
        "Total cache insertion duration, in microseconds",
        lambda report: report.statistics.insertion_ns // 1000,
    ),
    (
        "slipway_cache_failure_count",
        "counter",
        "Number of look-ups and insertions that the response cache could not do",
        lambda report: report.statistics.failures,
    ),
)
