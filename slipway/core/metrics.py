"""Metric families that models define themselves (pb_utils.MetricFamily, identity's input_byte_size_counter).

Thread-safe values; `rest/metrics.py` renders them. The same name returns the same family, as in Triton.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock

from slipway.core.statistics import Histogram
from slipway.errors import invalid

KINDS = ("counter", "gauge", "histogram")
LabelSet = tuple[tuple[str, str], ...]


class Metric:
    """One labelled series of a counter or gauge (`value`) or of a histogram."""

    __slots__ = ("_lock", "histogram", "kind", "value")

    def __init__(self, kind: str, buckets: tuple[float, ...]) -> None:
        self.kind = kind
        self.value = 0.0
        self.histogram = Histogram(buckets) if kind == "histogram" else None
        self._lock = Lock()

    def increment(self, amount: float) -> None:
        """Add `amount`, which must not be negative for a counter."""
        if self.kind == "histogram":
            raise invalid("increment is not supported for a histogram")
        if self.kind == "counter" and amount < 0:
            raise invalid("counter metrics can only be incremented monotonically by non-negative values")
        with self._lock:
            self.value += amount

    def set(self, value: float) -> None:
        """Replace a gauge's value."""
        if self.kind != "gauge":
            raise invalid(f"set is not supported for a {self.kind}")
        with self._lock:
            self.value = value

    def observe(self, value: float) -> None:
        """Count `value` in a histogram."""
        if self.histogram is None:
            raise invalid(f"observe is not supported for a {self.kind}")
        with self._lock:
            self.histogram.observe(value)


class MetricFamily:
    """A named group of series with different labels."""

    def __init__(self, name: str, description: str, kind: str) -> None:
        if kind not in KINDS:
            raise invalid(f"unknown metric kind '{kind}', expected one of {', '.join(KINDS)}")
        self.name = name
        self.description = description
        self.kind = kind
        self._series: dict[LabelSet, Metric] = {}
        self._uses: dict[LabelSet, int] = {}
        self._lock = Lock()

    def metric(self, labels: Mapping[str, str], buckets: Iterable[float] = ()) -> Metric:
        """Return the series of `labels`, created on first use; each call needs one matching `release`."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = Metric(self.kind, tuple(buckets))
            self._uses[key] = self._uses.get(key, 0) + 1
            return series

    def release(self, labels: Mapping[str, str]) -> None:
        """Release one use of a series; the last release removes it."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            uses = self._uses.get(key, 0) - 1
            if uses > 0:
                self._uses[key] = uses
            else:
                self._uses.pop(key, None)
                self._series.pop(key, None)

    def series(self) -> list[tuple[LabelSet, Metric]]:
        """Return the current series."""
        with self._lock:
            return list(self._series.items())


class MetricRegistry:
    """All families that models have defined."""

    def __init__(self) -> None:
        self._families: dict[str, MetricFamily] = {}
        self._lock = Lock()

    def family(self, name: str, description: str, kind: str) -> MetricFamily:
        """Return the family `name`, created on first use; raise INVALID_ARG if it exists with another kind."""
        with self._lock:
            family = self._families.get(name)
            if family is None:
                family = self._families[name] = MetricFamily(name, description, kind)
            elif family.kind != kind:
                raise invalid(f"metric family '{name}' already exists with kind '{family.kind}', not '{kind}'")
            return family

    def families(self) -> list[MetricFamily]:
        """Return the families that have at least one series."""
        with self._lock:
            return [family for family in self._families.values() if family.series()]
