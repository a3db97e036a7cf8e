"""What a bound function may get and return besides arrays: the requests of its batch, and parameters of its responses.

Values only. Knows neither the server nor how functions are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slipway.core.pending import Pending
from slipway.core.request import Parameter


@dataclass(frozen=True, slots=True)
class BoundRequest:
    """One request of a batch, for a function that asks for it."""

    id: str
    rows: int  # of the batch axis that are its own; 1 without a batch axis
    parameters: Mapping[str, Parameter]
    outputs: tuple[str, ...]  # those it asks for; none means all
    correlation_id: int | str
    _pending: Pending = field(repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether its client no longer wants the response; may change at any time."""
        return self._pending.cancelled

    @classmethod
    def of(cls, pending: Pending) -> BoundRequest:
        """Return the view of an accepted request."""
        request = pending.request
        return cls(request.id, pending.rows, request.parameters, request.outputs, request.correlation_id, pending)


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The batch that a function is called for: a parameter with this annotation, or of the name `context`, gets it."""

    model: str
    version: int
    instance: str
    requests: tuple[BoundRequest, ...]  # in the order of their rows

    @property
    def cancelled(self) -> bool:
        """Whether no client wants a response any more."""
        return all(request.cancelled for request in self.requests)


@dataclass(frozen=True, slots=True)
class ModelInstance:
    """The execution slot that an object of a bound class serves; `setup` gets it if it has a parameter."""

    name: str
    index: int  # from 0
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a function returns instead of its outputs to add response parameters: one mapping for all requests of the
    batch, or one for each."""

    outputs: Any
    parameters: Mapping[str, Parameter] | Sequence[Mapping[str, Parameter]] = field(default_factory=dict)
