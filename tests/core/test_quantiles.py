"""Quantiles of streams stay within their rank errors, in little memory, over the last minute."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right

import pytest

from slipway.core.quantiles import AGE_NS, WINDOW_NS, Quantile, QuantileStream, Summary

TARGETS = (Quantile(0.5, 0.05), Quantile(0.9, 0.01), Quantile(0.99, 0.001), Quantile(0.999, 0.001))


def values(kind, count):
    chance = random.Random(7)
    made = {
        "ascending": list(range(count)),
        "descending": list(range(count, 0, -1)),
        "equal": [5] * count,
        "skewed": [int(chance.lognormvariate(6, 2)) for _ in range(count)],
        "few": [chance.randrange(4) for _ in range(count)],
    }
    return made[kind]


def rank_error(ordered, rank, value):
    """Return how far `value` is from `rank`, as a share of all values; equal values share their ranks."""
    low, high = bisect_left(ordered, value), bisect_right(ordered, value)
    wanted = math.ceil(rank * len(ordered))
    return max(low + 1 - wanted, wanted - high, 0) / len(ordered)


@pytest.mark.parametrize("chunk", [1, 37, 500])
@pytest.mark.parametrize("kind", ["ascending", "descending", "equal", "skewed", "few"])
def test_each_quantile_is_within_its_error(kind, chunk):
    given = values(kind, 3000 if chunk == 1 else 20_000)
    stream = QuantileStream(TARGETS)
    for start in range(0, len(given), chunk):
        stream.add(sorted(given[start : start + chunk]))
    ordered = sorted(given)
    for target in TARGETS:
        slack = 5 / len(given)  # whole ranks
        assert rank_error(ordered, target.rank, stream.value(target.rank)) <= target.error + slack
    assert stream.count == len(given)
    assert stream.size < 700


def test_memory_does_not_grow_with_the_stream():
    stream = QuantileStream(TARGETS)
    sizes = []
    for start in range(0, 200_000, 500):
        stream.add(sorted(values("skewed", 500) if start % 1000 else range(500)))
        sizes.append(stream.size)
    assert max(sizes) < 1500


def test_few_values_are_exact_and_none_are_not_a_number():
    stream = QuantileStream(TARGETS)
    assert math.isnan(stream.value(0.5))
    stream.add([1, 2, 3])
    assert stream.value(0.5) == 2
    assert stream.value(0.999) in (2, 3)


@pytest.mark.parametrize("rank", [0.0, 1.0])
def test_the_ends_may_be_targets(rank):
    stream = QuantileStream((Quantile(rank, 0.01),))
    for start in range(0, 5000, 100):
        stream.add(range(start, start + 100))
    assert abs(stream.value(rank) - rank * 4999) <= 51


class Clock:
    now = 0

    def __call__(self):
        return self.now


def test_a_summary_forgets_what_is_older_than_a_minute_except_its_count_and_sum():
    clock = Clock()
    summary = Summary((Quantile(0.5, 0.01),), clock)
    assert math.isnan(summary.values()[0][1])
    for _ in range(10):
        summary.observe(1000)
    clock.now = AGE_NS
    summary.observe(1)
    assert summary.values() == [(0.5, 1000)]
    clock.now = WINDOW_NS
    assert summary.values() == [(0.5, 1)]
    clock.now = WINDOW_NS + AGE_NS
    assert math.isnan(summary.values()[0][1])
    assert (summary.count, summary.total) == (11, 10_001)


def test_a_summary_that_rested_for_hours_begins_again():
    clock = Clock()
    summary = Summary((Quantile(0.5, 0.01),), clock)
    summary.observe(3)
    clock.now = 1000 * WINDOW_NS + 5
    summary.observe(7)
    assert summary.values() == [(0.5, 7)]


def test_what_waits_to_be_sorted_counts_when_it_is_read():
    summary = Summary((Quantile(0.5, 0.01),), Clock())
    for value in range(1300):
        summary.observe(value)
    [(_, middle)] = summary.values()
    assert abs(middle - 650) <= 14
