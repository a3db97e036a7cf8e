"""A brake for a model that sends many responses to one request: it waits while their receiver has no room.

The receiver holds and releases the pace; an instance asks, after each response, to be called when the next may come.
May be used from any thread. Models that send a single response never see one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final

LONGEST_HOLD_S: Final = 300.0  # as Triton: a model that waited this long goes on, so that nothing hangs for ever


class Pace:
    """Open at first."""

    __slots__ = ("_held", "_lock", "_waiting")

    def __init__(self) -> None:
        self._held = False
        self._lock = Lock()
        self._waiting: list[Callable[[], None]] = []

    def hold(self) -> None:
        """Let nobody pass until `release`."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """Let everybody pass, also those who wait."""
        with self._lock:
            self._held = False
            waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def when_open(self, action: Callable[[], None]) -> None:
        """Run `action` now, or when the pace is released."""
        with self._lock:
            if self._held:
                self._waiting.append(action)
                return
        action()
