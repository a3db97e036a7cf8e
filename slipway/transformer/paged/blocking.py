"""Wait for rows of a running batch: what turns `start` into `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from slipway.transformer.generation import GenerationListener, Hypothesis


class WaitingListener:
    """Passes the reports of `count` rows on to a caller that waits for all of them. A `generation.StartedListener`.

    When a row fails, the others stop, and `wait` raises the first error.
    """

    def __init__(self, listener: GenerationListener, count: int) -> None:
        self._listener = listener
        self._open = count
        self._ended = Event()
        self._error: Exception | None = None
        if not count:
            self._ended.set()

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        """Pass one token on."""
        return self._error is not None or self._listener.token(row, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        """Return whether the row shall continue."""
        return self._error is None and self._listener.wanted(row)

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Pass a finished row on, unless the call has failed."""
        if self._error is None:
            self._listener.done(row, hypotheses)  # if this raises, the row fails
        self._count()

    def failed(self, row: int, error: Exception) -> None:  # noqa: ARG002
        """Keep the first error."""
        self._error = self._error or error
        self._count()

    def stop(self, error: Exception) -> None:
        """Let the rows stop, because what the caller did meanwhile has failed; `wait` raises the error."""
        self._error = self._error or error

    def wait(self) -> None:
        """Return when all rows have ended; raise the first error."""
        self._ended.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _count(self) -> None:
        self._open -= 1
        if not self._open:
            self._ended.set()
