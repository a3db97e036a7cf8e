"""When to leave a failing server of a cache alone, so that no request waits for it. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final

PAUSE_S: Final = 1.0  # from a fault to the next attempt


class Outage:
    """The state of a server that may go away: during an outage, one attempt per `pause_s` seconds is made."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._next_attempt: float | None = None  # None: the server answers

    def allows(self, now: float) -> bool:
        """Return whether to ask the server now; during an outage, whoever gets True makes the one attempt."""
        if self._next_attempt is None:
            return True
        if now < self._next_attempt:
            return False
        self._next_attempt = now + self._pause_s
        return True

    def failed(self, now: float) -> bool:
        """Note a fault; return whether an outage begins with it."""
        begins = self._next_attempt is None
        self._next_attempt = now + self._pause_s
        return begins

    def answered(self) -> bool:
        """Note an answer; return whether an outage ends with it."""
        ends = self._next_attempt is not None
        self._next_attempt = None
        return ends
