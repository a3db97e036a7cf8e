"""Requests of several rows on an engine that knows rows alone: run together, each answered as soon as its own are done.

An engine reports of rows; here each report finds the request that the row belongs to. When a run fails as a whole, the
requests without an answer are run again, each alone, so that one never fails for another's sake. Knows neither tensors
nor protocols: what a request is answered with, and where that goes, is its subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from slipway.errors import SlipwayError, cancelled
from slipway.transformer.generation import Hypothesis, SequenceRequest, TransformerEngine


class GenerationRequest(ABC):
    """One request in an engine. `results[i]` are the hypotheses of row i, none while the row is among `open`.

    Subclasses set `told` once part of the answer is out: such a request is not run again. They hold nothing that leads
    to the engine: CTranslate2's threads let go of a listener late, and may not end it.
    """

    def __init__(self, rows: Sequence[SequenceRequest]) -> None:
        self.rows = rows
        self.told = False
        self.restart()

    def restart(self) -> None:
        """Forget what the rows have so far."""
        self.results: list[Sequence[Hypothesis]] = [()] * len(self.rows)
        self.open = set(range(len(self.rows)))
        self.stopped = False  # whether its client is gone

    @abstractmethod
    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Take one more token of a row that is not searched with beams, as a `GenerationListener` does.

        Return whether the client is gone.
        """

    @abstractmethod
    def wanted(self) -> bool:
        """Return whether the client still waits; asked of rows that are searched with beams."""

    @abstractmethod
    def answer(self) -> None:
        """Answer with `results`: all rows are done. Raise `SlipwayError` where they make no answer."""

    @abstractmethod
    def fail(self, error: SlipwayError) -> None:
        """Answer with an error."""

    def finish(self) -> None:
        """Give the one final answer."""
        if self.stopped:
            self.fail(cancelled())
            return
        try:
            self.answer()
        except SlipwayError as error:
            self.fail(error)


def dispatch(engine: TransformerEngine, requests: Sequence[GenerationRequest]) -> None:
    """Generate for all requests and answer each, with an error where the engine fails."""
    for request in requests:
        if not request.rows:
            request.finish()
    asked = [request for request in requests if request.rows]
    if not asked:
        return
    try:
        engine.generate([row for request in asked for row in request.rows], _Dispatcher(asked))
    except SlipwayError as error:
        for request in [each for each in asked if each.open]:
            if len(asked) == 1 or request.told:
                request.fail(error)
            else:  # it may have been its neighbour's fault
                request.restart()
                dispatch(engine, [request])


class _Dispatcher:
    """Passes what the engine reports of its rows to the requests they belong to. A `generation.GenerationListener`."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self._owners = [(request, row) for request in requests for row in range(len(request.rows))]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        request, index = self._owners[row]
        request.stopped = request.stopped or request.token(index, token, log_probability, figure)
        return request.stopped

    def wanted(self, row: int) -> bool:
        """Return whether the row's client still waits."""
        request, _ = self._owners[row]
        request.stopped = request.stopped or not request.wanted()
        return not request.stopped

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer the request when it was the last."""
        request, index = self._owners[row]
        request.results[index] = hypotheses
        request.open.discard(index)
        if not request.open:
            request.finish()
