"""Run requests of several rows together on an engine that only knows rows; answer each as soon as its rows are done.

The engine reports on rows; here each report is passed to the request that the row belongs to. Where the engine has a
running batch, each request joins it; the others run together, and when such a run fails as a whole, the requests
without an answer are run again, each alone, so that none fails because of another. Knows neither tensors nor protocols:
subclasses make the answers and deliver them.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from threading import Condition
from typing import Final

from slipway.errors import SlipwayError, cancelled, internal
from slipway.transformer.generation import Hypothesis, SequenceRequest, TransformerEngine

_LOG: Final = logging.getLogger("slipway.transformer")


class GenerationRequest(ABC):
    """One request in an engine. `results[i]` are the hypotheses of row i, none while the row is among `open`.

    Subclasses set `sent` once part of the answer has been sent: such a request is not run again. They must not hold a
    reference that leads to the engine: CTranslate2's threads release a listener late, and must not end the engine.
    """

    def __init__(self, rows: Sequence[SequenceRequest]) -> None:
        self.rows = rows
        self.sent = False
        self.restart()

    def restart(self) -> None:
        """Discard the results so far."""
        self.results: list[Sequence[Hypothesis]] = [()] * len(self.rows)
        self.open = set(range(len(self.rows)))
        self.stopped = False  # whether its client is gone

    @abstractmethod
    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Receive one more token of a row without beams, as a `GenerationListener` does.

        Return whether the client is gone.
        """

    @abstractmethod
    def wanted(self) -> bool:
        """Return whether the client is still waiting; called for rows with beams."""

    @abstractmethod
    def answer(self) -> None:
        """Answer with `results`: all rows are done. Raise `SlipwayError` if no answer can be made from them."""

    @abstractmethod
    def fail(self, error: SlipwayError) -> None:
        """Answer with an error."""

    def row_done(self, row: int) -> None:  # noqa: B027  most requests are answered as a whole
        """Learn that `results[row]` is there, while other rows may go on."""

    def take_token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass a token to `token`; return True, which stops the row, from the moment on when its client is gone."""
        self.stopped = self.stopped or self.token(row, token, log_probability, figure)
        return self.stopped

    def is_wanted(self) -> bool:
        """Ask `wanted`; return False from the moment on when the client is gone."""
        self.stopped = self.stopped or not self.wanted()
        return not self.stopped

    def take_result(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer the request if this was its last row."""
        self.results[row] = hypotheses
        self.open.discard(row)
        self.row_done(row)
        if not self.open:
            self.finish()

    def finish(self) -> None:
        """Send the final answer."""
        if self.stopped:
            self.fail(cancelled())
            return
        try:
            self.answer()
        except SlipwayError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  the other requests of the run go on
            self.fail(_unexpected(error))


class OpenRequests:
    """How many requests in a running batch have not been answered; a model waits for them before it closes."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = Condition()

    def add(self) -> None:
        """Count one more."""
        with self._changed:
            self._count += 1

    def remove(self) -> None:
        """Count one less: it has been answered."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when all have been answered."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count)


def dispatch(engine: TransformerEngine, requests: Sequence[GenerationRequest]) -> None:
    """Generate for all requests and answer each, with an error if the engine fails; return when all are answered."""
    open_requests = OpenRequests()
    begin(engine, requests, open_requests)
    open_requests.wait()


def begin(engine: TransformerEngine, requests: Sequence[GenerationRequest], open_requests: OpenRequests) -> None:
    """Generate for all requests and answer each, but do not wait for those that join a running batch: they are among
    the `open_requests` until they are answered."""
    for request in requests:
        if not request.rows:
            request.finish()
    asked = [request for request in requests if request.rows]
    joining = [request for request in asked if all(map(engine.joins, request.rows))]
    if joining:
        _start(engine, joining, open_requests)
    others = [request for request in asked if request not in joining]
    if others:
        _run(engine, others)


def _start(engine: TransformerEngine, joining: Sequence[GenerationRequest], open_requests: OpenRequests) -> None:
    """Let requests join the engine's running batch together; if it refuses that, each by itself."""
    rows = [row for request in joining for row in request.rows]
    try:
        engine.start(rows, _StartedDispatcher(joining, open_requests))
    except SlipwayError as error:
        _refused(engine, joining, open_requests, error)
    except Exception as error:  # noqa: BLE001  an engine's library may raise anything, such as without memory for pages
        _refused(engine, joining, open_requests, _unexpected(error))


def _refused(
    engine: TransformerEngine,
    joining: Sequence[GenerationRequest],
    open_requests: OpenRequests,
    error: SlipwayError,
) -> None:
    if len(joining) == 1:
        open_requests.remove()
        joining[0].fail(error)
        return
    for request in joining:
        open_requests.remove()
        _start(engine, [request], open_requests)


def _run(engine: TransformerEngine, asked: Sequence[GenerationRequest]) -> None:
    try:
        engine.generate([row for request in asked for row in request.rows], _Dispatcher(asked))
    except SlipwayError as error:
        _failed(engine, asked, error)
    except Exception as error:  # noqa: BLE001  an engine's library may raise anything
        _failed(engine, asked, _unexpected(error))


def _failed(engine: TransformerEngine, asked: Sequence[GenerationRequest], error: SlipwayError) -> None:
    """Run the requests without an answer again, each alone; answer one that was alone with the error."""
    for request in [each for each in asked if each.open]:
        if len(asked) == 1 or request.sent:
            request.fail(error)
        else:  # another request may have caused the failure
            request.restart()
            _run(engine, [request])


def _unexpected(error: Exception) -> SlipwayError:
    """Log an exception, and return the error a client gets: only its type."""
    _LOG.error("generation failed", exc_info=error)
    return internal(f"generation failed: {type(error).__name__}")


class _Dispatcher:
    """Passes the engine's reports to the requests that the rows belong to. A `generation.GenerationListener`."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self._owners = [(request, row) for request in requests for row in range(len(request.rows))]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        request, index = self._owners[row]
        return request.take_token(index, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        """Return whether the row's client is still waiting."""
        return self._owners[row][0].is_wanted()

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer the request if this was its last row."""
        request, index = self._owners[row]
        request.take_result(index, hypotheses)


class _StartedDispatcher(_Dispatcher):
    """The same for requests in a running batch. A `generation.StartedListener`.

    When a row fails, its request is answered with the error, and the other rows of the request stop.
    """

    def __init__(self, requests: Sequence[GenerationRequest], open_requests: OpenRequests) -> None:
        super().__init__(requests)
        self._open_requests = open_requests
        self._left = {id(request): len(request.rows) for request in requests}  # rows that have not ended
        self._failed: set[int] = set()
        for _ in requests:
            open_requests.add()

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        return self._has_failed(row) or super().token(row, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        """Return whether the row's client is still waiting."""
        return not self._has_failed(row) and super().wanted(row)

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer the request if this was its last row."""
        if not self._has_failed(row):
            super().done(row, hypotheses)  # if this raises, the row fails
        self._count(row)

    def failed(self, row: int, error: Exception) -> None:
        """Answer the row's request with the error, unless it has been."""
        request, _ = self._owners[row]
        try:
            if not self._has_failed(row):
                self._failed.add(id(request))
                request.fail(error if isinstance(error, SlipwayError) else _unexpected(error))
        finally:
            self._count(row)

    def _has_failed(self, row: int) -> bool:
        return id(self._owners[row][0]) in self._failed

    def _count(self, row: int) -> None:
        request = id(self._owners[row][0])
        self._left[request] -= 1
        if not self._left[request]:
            self._open_requests.remove()
