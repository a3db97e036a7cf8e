"""Run requests of several rows together on an engine that only knows rows; answer each as soon as its rows are done.

The engine reports on rows; here each report is passed to the request that the row belongs to. When a run fails as a
whole, the requests without an answer are run again, each alone, so that none fails because of another. Knows neither
tensors nor protocols: subclasses make the answers and deliver them.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
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


def dispatch(engine: TransformerEngine, requests: Sequence[GenerationRequest]) -> None:
    """Generate for all requests and answer each, with an error if the engine fails."""
    for request in requests:
        if not request.rows:
            request.finish()
    asked = [request for request in requests if request.rows]
    if not asked:
        return
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
            dispatch(engine, [request])


def _unexpected(error: Exception) -> SlipwayError:
    """Log the exception that is being handled, and return the error a client gets: only its type."""
    _LOG.exception("generation failed")
    return internal(f"generation failed: {type(error).__name__}")


class _Dispatcher:
    """Passes the engine's reports to the requests that the rows belong to. A `generation.GenerationListener`."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self._owners = [(request, row) for request in requests for row in range(len(request.rows))]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        request, index = self._owners[row]
        request.stopped = request.stopped or request.token(index, token, log_probability, figure)
        return request.stopped

    def wanted(self, row: int) -> bool:
        """Return whether the row's client is still waiting."""
        request, _ = self._owners[row]
        request.stopped = request.stopped or not request.wanted()
        return not request.stopped

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer the request if this was its last row."""
        request, index = self._owners[row]
        request.results[index] = hypotheses
        request.open.discard(index)
        request.row_done(index)
        if not request.open:
            request.finish()
