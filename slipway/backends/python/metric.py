"""`pb_utils.MetricFamily`: metrics that a model defines, shown with the server's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, Final

from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.server import SeriesFamily
from slipway.errors import SlipwayError

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class MetricKind(IntEnum):
    """The kind of a family's series."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class ModelMetric:
    """One labelled series; it is removed together with its last `Metric`."""

    __slots__ = ("_family", "_kind", "_labels", "_series", "_what")

    def __init__(
        self, family: SeriesFamily, kind: MetricKind, labels: Mapping[str, str], buckets: Sequence[float], what: str
    ) -> None:
        self._kind = kind
        self._labels = dict(labels)
        self._what = what
        try:
            self._series = family.metric(self._labels, buckets)
        except SlipwayError as error:
            raise TritonModelException(f"Error when creating Metric: {what}{error.message}") from error
        self._family = family

    def increment(self, value: float) -> None:
        """Add `value` to a counter or gauge."""
        if self._kind is MetricKind.HISTOGRAM:
            raise self._refused("increment", "does not support Increment")
        if self._kind is MetricKind.COUNTER and value < 0:
            raise self._refused("increment", "can only be incremented monotonically by non-negative values.")
        self._series.increment(float(value))

    def set(self, value: float) -> None:
        """Replace a gauge's value."""
        if self._kind is not MetricKind.GAUGE:
            raise self._refused("set", "does not support Set")
        self._series.set(float(value))

    def observe(self, value: float) -> None:
        """Count `value` in a histogram."""
        if self._kind is not MetricKind.HISTOGRAM:
            raise self._refused("observe", "does not support Observe")
        self._series.observe(float(value))

    def value(self) -> float:
        """Return the value of a counter or gauge."""
        if self._kind is MetricKind.HISTOGRAM:
            raise self._refused("get", "does not support Value")
        return self._series.value

    def _refused(self, verb: str, why: str) -> TritonModelException:
        kind = f"TRITONSERVER_METRIC_KIND_{self._kind.name}"
        return TritonModelException(f"Failed to {verb} metric value: {self._what}{kind} {why}")

    def __del__(self) -> None:
        if hasattr(self, "_family"):
            self._family.release(self._labels)


class ModelMetricFamily:
    """A named group of series. Each model has a subclass of its own, bound to its `ModelScope`."""

    COUNTER: ClassVar[MetricKind] = MetricKind.COUNTER
    GAUGE: ClassVar[MetricKind] = MetricKind.GAUGE
    HISTOGRAM: ClassVar[MetricKind] = MetricKind.HISTOGRAM
    scope: ClassVar[ModelScope | None] = None

    def __init__(self, name: str, description: str, kind: MetricKind) -> None:
        if self.scope is None:
            raise TritonModelException("Error when creating MetricFamily: no server runs this model")
        self._kind = MetricKind(kind)
        self._what = f"Failed to process the request for model '{self.scope.instance_name}', message: "
        if not _NAME.fullmatch(name):
            raise TritonModelException(f"Error when creating MetricFamily: {self._what}Invalid metric name")
        try:
            self._family = self.scope.server.metrics.family(name, description, self._kind.name.lower())
        except SlipwayError as error:
            raise TritonModelException(f"Error when creating MetricFamily: {self._what}{error.message}") from error

    def Metric(self, labels: Any = None, buckets: Any = None) -> ModelMetric:  # noqa: N802  Triton's name
        """Return the series of `labels`; a histogram needs `buckets`, its upper bounds in ascending order."""
        if labels is not None and not isinstance(labels, Mapping):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        labels = labels or {}
        if not all(isinstance(text, str) for pair in labels.items() for text in pair):
            raise self._not_created("attempt to access JSON non-string as string")
        if buckets is not None and not isinstance(buckets, list | tuple):
            raise TritonModelException("Failed to create metric. Buckets must be a list.")
        if self._kind is not MetricKind.HISTOGRAM and buckets:
            raise TritonModelException("Failed to create metric. Unexpected buckets found.")
        if self._kind is MetricKind.HISTOGRAM and buckets is None:
            raise TritonModelException("Failed to create metric. Missing required buckets.")
        bounds = [float(bound) for bound in buckets or ()]
        if any(low >= high for low, high in pairwise(bounds)):
            raise self._not_created("Bucket Boundaries must be strictly sorted")
        return ModelMetric(self._family, self._kind, labels, bounds, self._what)

    def _not_created(self, why: str) -> TritonModelException:
        return TritonModelException(f"Error when creating Metric: {self._what}{why}")
