"""The spans that wait for their export: bounded, in batches by size and time (OpenTelemetry's batching processor)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Span = TypeVar("Span")


class SpanQueue(Generic[Span]):
    """At most `limit` spans. `take` returns up to `batch` of them: when there are so many, or after `delay_s`."""

    def __init__(self, limit: int, batch: int, delay_s: float) -> None:
        self._limit = limit
        self._batch = batch
        self._delay_s = delay_s
        self._spans: deque[Span] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, spans: Iterable[Span]) -> int:
        """Queue spans; return how many did not fit and are lost."""
        lost = 0
        with self._changed:
            for span in spans:
                if len(self._spans) < self._limit:
                    self._spans.append(span)
                else:
                    lost += 1
            if len(self._spans) >= self._batch:
                self._changed.notify()
        return lost

    @property
    def is_full(self) -> bool:
        """Whether the next span would be lost."""
        return len(self._spans) >= self._limit

    def take(self) -> list[Span]:
        """Wait for a batch, which is empty if no span came in time, and return it."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._spans) >= self._batch, self._delay_s)
            return [self._spans.popleft() for _ in range(min(self._batch, len(self._spans)))]

    def close(self) -> None:
        """Let `take` return what there is without waiting."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    @property
    def is_finished(self) -> bool:
        """Whether the queue is closed and empty."""
        return self._is_closed and not self._spans
