"""tritonserver's `--metrics-config`: which latency metrics are kept, and the quantiles of summaries.

Source: Triton `docs/user_guide/metrics.md` and `metric_model_reporter.cc`. Unlike Triton, which logs a setting that it
cannot read and goes on with the default, a mistake is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from slipway.config.flags import BOOLEAN, Kind
from slipway.core.quantiles import Quantile
from slipway.nearest import nearest_or_all

COUNTERS: Final = "counter_latencies"
HISTOGRAMS: Final = "histogram_latencies"
SUMMARIES: Final = "summary_latencies"
QUANTILES: Final = "summary_quantiles"


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The quantiles that summaries show; as text, in the form of the flag."""

    targets: tuple[Quantile, ...]

    def __str__(self) -> str:
        return ",".join(f"{target.rank:g}:{target.error:g}" for target in self.targets)


DEFAULT_QUANTILES: Final = Quantiles(
    (
        Quantile(0.5, 0.05),
        Quantile(0.9, 0.01),
        Quantile(0.95, 0.001),
        Quantile(0.99, 0.001),
        Quantile(0.999, 0.001),
    )
)
LATENCIES: Final[Mapping[str, Any]] = MappingProxyType(
    {COUNTERS: True, HISTOGRAMS: True, SUMMARIES: False, QUANTILES: DEFAULT_QUANTILES}
)


def _read(text: str) -> tuple[str, Any]:
    setting, equals, value = text.partition("=")
    if not equals or not setting:
        raise ValueError(f"--metrics-config option format is <setting>=<value>. Got {text}")
    if setting not in LATENCIES:
        raise ValueError(f"unknown setting '{setting}'{nearest_or_all(setting, LATENCIES)}")
    return setting, _quantiles(value) if setting == QUANTILES else BOOLEAN.read(value)


def _quantiles(text: str) -> Quantiles:
    targets = tuple(_quantile(pair) for pair in text.strip('"').split(","))
    return Quantiles(tuple(sorted(set(targets), key=lambda target: (target.rank, target.error))))


def _quantile(pair: str) -> Quantile:
    rank, colon, error = pair.partition(":")
    if not colon:
        raise ValueError(f"Invalid option: [{pair}]. No ':' delimiter found. Expected format is <quantile>:<error>")
    try:
        read = Quantile(float(rank), float(error))
    except ValueError:
        raise ValueError(f"Invalid option: [{pair}]. Expected two numbers, <quantile>:<error>") from None
    if not (0 <= read.rank <= 1 and 0 < read.error < 1):
        raise ValueError(f"Invalid option: [{pair}]. A quantile is in the range 0 to 1, an error between 0 and 1")
    return read


METRICS_SETTING: Final = Kind("SETTING=VALUE", _read)


def gathered(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return every setting: the last value given, or the default."""
    return {**LATENCIES, **dict(settings)}
