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
from slipway.backends.python.signatures import (
    Native,
    Signature,
    StubParameter,
    an,
    anything,
    decoded,
    real,
    text,
    uncastable,
)
from slipway.errors import SlipwayError

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class MetricKind(IntEnum):
    """The kind of a family's series."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


_FAMILY: Final = Signature(
    "__init__",
    "c_python_backend_utils.MetricFamily(name: str, description: str, kind: c_python_backend_utils.MetricKind)",
    StubParameter("name", text),
    StubParameter("description", text),
    StubParameter("kind", an(MetricKind)),
)
_METRIC: Final = Signature(
    "Metric",
    "(self: c_python_backend_utils.MetricFamily, labels: object = None, buckets: object = None) -> "
    "c_python_backend_utils.Metric",
    StubParameter("labels", anything, None),
    StubParameter("buckets", anything, None),
)
_INCREMENT, _SET, _OBSERVE = (
    Signature(name, "(self: c_python_backend_utils.Metric, arg0: float) -> None", StubParameter("", real))
    for name in ("increment", "set", "observe")
)


class ModelMetric(Native):
    """One labelled series; it is removed together with its last `Metric`."""

    __slots__ = ("_family", "_kind", "_labels", "_series", "_what")
    native_name = "Metric"

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

    def increment(self, *given: Any, **named: Any) -> None:
        """Add a value to a counter or gauge."""
        (value,) = _INCREMENT.bind((self,), given, named)
        if self._kind is MetricKind.HISTOGRAM:
            raise self._refused("increment", "does not support Increment")
        if self._kind is MetricKind.COUNTER and value < 0:
            raise self._refused("increment", "can only be incremented monotonically by non-negative values.")
        self._series.increment(float(value))

    def set(self, *given: Any, **named: Any) -> None:
        """Replace a gauge's value."""
        (value,) = _SET.bind((self,), given, named)
        if self._kind is not MetricKind.GAUGE:
            raise self._refused("set", "does not support Set")
        self._series.set(float(value))

    def observe(self, *given: Any, **named: Any) -> None:
        """Count a value in a histogram."""
        (value,) = _OBSERVE.bind((self,), given, named)
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


class ModelMetricFamily(Native):
    """A named group of series. Each model has a subclass of its own, bound to its `ModelScope`."""

    COUNTER: ClassVar[MetricKind] = MetricKind.COUNTER
    GAUGE: ClassVar[MetricKind] = MetricKind.GAUGE
    HISTOGRAM: ClassVar[MetricKind] = MetricKind.HISTOGRAM
    native_name = "MetricFamily"
    scope: ClassVar[ModelScope | None] = None

    def __init__(self, *given: Any, **named: Any) -> None:
        name, description, kind = _FAMILY.bind((), given, named)
        name, description = decoded(name), decoded(description)
        if self.scope is None:
            raise TritonModelException("Error when creating MetricFamily: no server runs this model")
        self._kind: MetricKind = kind
        self._what = f"Failed to process the request for model '{self.scope.instance_name}', message: "
        if not _NAME.fullmatch(name):
            raise TritonModelException(f"Error when creating MetricFamily: {self._what}Invalid metric name")
        try:
            self._family = self.scope.server.metrics.family(name, description, self._kind.name.lower())
        except SlipwayError as error:
            raise TritonModelException(f"Error when creating MetricFamily: {self._what}{error.message}") from error

    def Metric(self, *given: Any, **named: Any) -> ModelMetric:  # noqa: N802  Triton's name
        """Return the series of `labels`; a histogram needs `buckets`, its upper bounds in ascending order."""
        labels, buckets = _METRIC.bind((self,), given, named)
        if labels is not None and not isinstance(labels, Mapping):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        labels = labels or {}
        if not all(isinstance(value, str) for value in labels.values()):
            raise self._not_created("attempt to access JSON non-string as string")
        if not all(_LABEL.fullmatch(str(name)) for name in labels):
            raise self._not_created("Invalid label name")
        if buckets is not None and not isinstance(buckets, list | tuple):
            raise TritonModelException("Failed to create metric. Buckets must be a list.")
        if self._kind is not MetricKind.HISTOGRAM and buckets:
            raise TritonModelException("Failed to create metric. Unexpected buckets found.")
        if self._kind is MetricKind.HISTOGRAM and buckets is None:
            raise TritonModelException("Failed to create metric. Missing required buckets.")
        if not all(map(real, buckets or ())):
            raise uncastable()
        bounds = [float(bound) for bound in buckets or ()]
        if any(low >= high for low, high in pairwise(bounds)):
            raise self._not_created("Bucket Boundaries must be strictly sorted")
        labels = {str(name): value for name, value in labels.items()}
        return ModelMetric(self._family, self._kind, labels, bounds, self._what)

    def _not_created(self, why: str) -> TritonModelException:
        return TritonModelException(f"Error when creating Metric: {self._what}{why}")
