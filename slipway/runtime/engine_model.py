"""What the models of this package share: an engine, and the answers of the requests that it runs together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from slipway.errors import SlipwayError
from slipway.runtime.batch_metrics import BatchMetrics
from slipway.runtime.shared_engines import SharedEngine
from slipway.transformer.dispatch import GenerationRequest, OpenRequests, begin, dispatch


class FailingSink(Protocol):
    """Receives the error of one request."""

    def fail(self, error: SlipwayError) -> None:
        """Receive the error because of which the request failed."""


class AnswerSink(Protocol):
    """Receives the results of one request. Called on the engine's thread."""

    def token(self, row: int, token: int) -> bool:
        """Receive the next token of a row that is not searched with beams. Return True to stop generating."""

    def wanted(self) -> bool:
        """Return whether the result is still wanted; called for requests that are searched with beams."""

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Receive the output tensors of the finished request."""

    def fail(self, error: SlipwayError) -> None:
        """Receive the error because of which the request failed."""


Sink = TypeVar("Sink", bound=FailingSink)


class EngineModel(ABC, Generic[Sink]):
    """A model with an engine, which it may share; a subclass reads the requests."""

    def __init__(self, shared: SharedEngine) -> None:
        self._shared = shared
        self._engine = shared.engine
        self._open = OpenRequests()
        self._metrics: BatchMetrics | None = None

    @property
    def description(self) -> str:
        """The engine that computes, and why it was chosen."""
        return self._engine.description

    def publish(self, pb_utils: Any, name: str) -> None:
        """Report the running batch of the engine as metrics of the model `name` until the model is closed. `pb_utils`
        is Triton's module for Python models; raise what its `MetricFamily` raises."""
        metrics = BatchMetrics(self._engine, self._shared.report, pb_utils.MetricFamily, name)
        metrics.start()
        self._metrics = metrics

    def close(self) -> None:
        """Wait until all requests have their results, and release the engine; the last model that shares it frees the
        weights."""
        self._open.wait()
        if self._metrics is not None:
            self._metrics.close()
        self._shared.release()

    def run(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Sink]]) -> None:
        """Generate for all requests together; each gets its results as soon as its own rows are done. Return when all
        have them."""
        dispatch(self._engine, self._requests(asked))

    def begin(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Sink]]) -> None:
        """Generate for all requests, but do not wait for those that join the engine's running batch: they get their
        results later, on the engine's thread."""
        begin(self._engine, self._requests(asked), self._open)

    def _requests(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Sink]]) -> list[GenerationRequest]:
        """Return the requests that can be read; the sinks of the others get the errors."""
        requests: list[GenerationRequest] = []
        for inputs, sink in asked:
            try:
                requests.append(self._request(inputs, sink))
            except SlipwayError as error:
                sink.fail(error)
        return requests

    @abstractmethod
    def _request(self, inputs: Mapping[str, np.ndarray], sink: Sink) -> GenerationRequest:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
