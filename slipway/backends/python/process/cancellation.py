"""What cancels one request of a batch in a child process."""

from __future__ import annotations

from collections.abc import Callable


class Cancellation:
    """Cancels when it is called.

    Not a closure, so that an answered request keeps nothing alive, and of a type of its own, by which it is found.
    """

    __slots__ = ("_cancel", "_index", "_serial")

    def __init__(self, cancel: Callable[[int, int], None], serial: int, index: int) -> None:
        self._cancel = cancel
        self._serial = serial
        self._index = index

    def __call__(self) -> None:
        """Cancel the request."""
        self._cancel(self._serial, self._index)
