"""A brake for a model that sends many responses to one request: it waits while their receiver has no room.

The receiver holds and releases the pace; an instance asks, after each response, to be called when the next may come.
May be used from any thread. Models that send a single response never see one. A thread that computes for many requests
must not wait for one of them: it says so by `never_waiting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import Final

LONGEST_HOLD_S: Final = 300.0  # as Triton: a model that waited this long goes on, so that nothing hangs for ever


class _ThreadMark(local):
    never_waits = False


_MARK: Final = _ThreadMark()


@contextmanager
def never_waiting() -> Iterator[None]:
    """Mark the current thread as one that must not wait for the receivers of responses, in this block."""
    before, _MARK.never_waits = _MARK.never_waits, True
    try:
        yield
    finally:
        _MARK.never_waits = before


def never_waits() -> bool:
    """Return whether the current thread must not wait."""
    return _MARK.never_waits


class Pace:
    """Open at first."""

    __slots__ = ("_held", "_lock", "_waiting", "backlog")

    def __init__(self) -> None:
        self._held = False
        self._lock = Lock()
        self.backlog: deque[Callable[[], None]] = deque()  # deliveries of a thread that does not wait, for the loop
        self._waiting: list[Callable[[], object]] = []

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

    def when_open(self, action: Callable[[], object]) -> None:
        """Run `action` now, or when the pace is released."""
        with self._lock:
            if self._held:
                self._waiting.append(action)
                return
        action()
