"""The thread that writes traces, and the bounded buffer between it and the event loop.

The event loop only appends; writing, which may block (a full disk, a pipe that nobody reads, a collector), never holds
it up. Traces that do not fit are lost and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

MAX_BUFFERED: Final = 32 << 20  # bytes
_GATHER_S: Final = 0.08  # traces that come within this time are written together: waking costs more than writing them

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class TraceSink(Protocol[Item_contra]):
    """Where traces go. Called in the writer's thread."""

    def write(self, items: Sequence[Item_contra]) -> int:
        """Write what can be written; return how many of the items are written or passed on."""

    def close(self) -> None:
        """Write the rest and let go of everything."""


class Counts(Protocol):
    """Counts what became of traces, or of their spans, from any thread. Sinks count what they write."""

    def written(self, count: int) -> None:
        """Count what was written or sent."""

    def lost(self, count: int) -> None:
        """Count what was lost."""


class Writer(Generic[Item]):
    """Passes items on to `sink` in a thread, which starts with the first one."""

    def __init__(self, sink: TraceSink[Item], counts: Counts) -> None:
        self._sink = sink
        self._counts = counts
        self._items: deque[Item] = deque()
        self._taken = 0  # bytes, by the event loop alone
        self._done = 0  # bytes, by the thread alone
        self._wake = threading.Event()
        self._is_awake = False
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, item: Item, size: int) -> None:
        """Take an item of about `size` bytes, or count it as lost. Called on the event-loop thread."""
        if self._taken - self._done > MAX_BUFFERED:
            self._counts.lost(1)
            return
        self._items.append(item)
        self._taken += size
        if not self._is_awake:
            self._is_awake = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
                self._thread.start()
            self._wake.set()

    def close(self, seconds: float) -> bool:
        """Write the rest and end the thread; return whether that took less than `seconds`."""
        self._closing.set()
        self._wake.set()
        if self._thread is None:
            self._sink.close()
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._wake.wait()
                self._closing.wait(_GATHER_S)
                self._wake.clear()
                self._is_awake = False  # from here on, `add` wakes this thread again
                self._write()
            self._write()
        finally:
            self._sink.close()

    def _write(self) -> None:
        size = self._taken  # an item that is being added may be missing here: then it counts with the next ones
        taken = [self._items.popleft() for _ in range(len(self._items))]
        if not taken:
            return
        written = self._sink.write(taken)
        self._done = size  # only now: until here they were in memory
        if written < len(taken):
            self._counts.lost(len(taken) - written)
