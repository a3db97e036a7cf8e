"""What the models of this package share: an engine, and the answers of the requests that it runs together."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from slipway.errors import SlipwayError, unforeseen
from slipway.runtime.batch_metrics import BatchMetrics
from slipway.runtime.shared_engines import SharedEngine
from slipway.transformer.dispatch import GenerationRequest, OpenRequests, begin, dispatch

_LOG: Final = logging.getLogger("slipway.transformer")
_AT_ONCE: Final = 2  # requests that are read beside those of `begin`'s thread


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
        self._late: ThreadPoolExecutor | None = None
        self._lock = Lock()

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
        with self._lock:
            if self._late is not None:
                self._late.shutdown()
        if self._metrics is not None:
            self._metrics.close()
        self._shared.release()

    def run(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Sink]]) -> None:
        """Generate for all requests together; each gets its results as soon as its own rows are done. Return when all
        have them."""
        dispatch(self._engine, self._requests(asked))

    def begin(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Sink]]) -> None:
        """Generate for all requests, but do not wait for those that join the engine's running batch: they get their
        results later, on the engine's thread. Requests that take long to read begin later, so that the others need not
        wait."""
        at_once = []
        for each in asked:
            if self._reads_long(each[0]):
                self._open.add()
                self._threads().submit(self._begin_late, each)
            else:
                at_once.append(each)
        begin(self._engine, self._requests(at_once), self._open)

    def _begin_late(self, each: tuple[Mapping[str, np.ndarray], Sink]) -> None:
        try:
            begin(self._engine, self._requests([each]), self._open)
        except Exception as error:  # noqa: BLE001  no caller could answer the request
            _LOG.exception("a request could not be read")
            each[1].fail(unforeseen(error))
        finally:
            self._open.remove()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._late is None:
                self._late = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="late-requests")
            return self._late

    def _reads_long(self, inputs: Mapping[str, np.ndarray]) -> bool:  # noqa: ARG002
        """Return whether the thread that reads this request may have to wait meanwhile."""
        return False

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
