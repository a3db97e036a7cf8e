"""The benchmark of the proxy reports what the proxy adds, beside the server's own HTTP front."""

from __future__ import annotations

import pytest

from benchmarks.proxy import ADDED_MS, PER_SECOND, proxy


@pytest.mark.capability("4.21")
def test_the_added_latency_and_the_rate_are_reported_with_their_targets():
    rows = {row.name: row for row in proxy(rounds=1, seconds=0.2)}
    added = rows["proxy identity, concurrency 1: added p50"]
    assert (added.unit, added.at_most) == ("ms", ADDED_MS)
    own, direct = (rows[f"{front} identity, concurrency 1: p50"].value for front in ("proxy", "direct HTTP"))
    assert added.value == pytest.approx(own - direct)
    rate = rows["proxy identity, concurrency 24"]
    assert (rate.unit, rate.at_least) == ("req/s", PER_SECOND)
    assert rate.value > 0
