"""When to try again while a server is away: soon at first, then less often, and not for ever."""

from __future__ import annotations

from typing import Final

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0


class Backoff:
    """The pauses of one run, all its connections together; `now` is in seconds. Gives up when nothing has succeeded for
    `patience` seconds since the first failure."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """Begin anew: the server answers."""
        self._failing_since = None

    def pause(self, attempt: int, now: float) -> float | None:
        """Return the seconds to wait before a request is tried again that failed `attempt` times in a row, None to give
        up."""
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._patience - now
        return None if left <= 0 else min(_FIRST_S * 2.0 ** min(attempt - 1, 10), _LONGEST_S, left)
