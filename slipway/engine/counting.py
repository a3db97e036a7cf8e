"""What the flags say about counting: whether latencies have summaries, and with which quantiles."""

from __future__ import annotations

import time

from slipway.config.metrics_settings import QUANTILES, SUMMARIES
from slipway.config.options import ServerOptions
from slipway.core.quantiles import Summary
from slipway.core.statistics import Summarise


def summarise_of(options: ServerOptions) -> Summarise | None:
    """Return what makes a summary, None if there are to be none: they cost time on every request."""
    if not options.allow_metrics or not options.metrics_config[SUMMARIES]:
        return None
    targets = options.metrics_config[QUANTILES].targets
    return lambda: Summary(targets, time.monotonic_ns)
