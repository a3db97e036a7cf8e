"""Responses from the response cache as a front sent them, by the bytes of the requests that they answered.

A client that sends the same bytes again gets the same bytes back, without its request being decoded and hashed, and the
response encoded. Whoever found the response decides each time whether it may be given again, and counts it. Runs on the
event-loop thread; knows neither transports nor models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Head = TypeVar("Head")

LARGEST_REPEAT: Final = 16 << 10  # bytes of a request, and of a response
_MOST: Final = 4 << 20  # bytes of all together: when there are more, all are dropped
_OVERHEAD: Final = 500  # bytes of Python's objects for one


@dataclass(frozen=True, slots=True, eq=False)
class Repeat(Generic[Head]):
    """An encoded response. It answers a request with the same bytes if the request's head, or the model that it names,
    is equal to `head`, means the loaded model with this very `signature`, and `again` returns True. `head_size` is the
    memory in bytes that the head takes and that no other one shares, apart from what the request's bytes have."""

    head: Head
    signature: object
    again: Callable[[], bool]
    parts: tuple[bytes, ...]
    head_size: int = 0

    @property
    def size(self) -> int:
        """The size of the response in bytes."""
        return sum(map(len, self.parts))


class Repeats(Generic[Head]):
    """The encoded responses of one front."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Repeat[Head]] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """The memory in bytes that all responses and their requests take."""
        return self._size

    def find(self, asked: bytes) -> Repeat[Head] | None:
        """Return the response to a request with these bytes, None if none is kept."""
        return self._kept.get(asked)

    def keep(self, asked: bytes, repeat: Repeat[Head]) -> None:
        """Keep a response, unless it, its request or the head of that is large."""
        if max(repeat.size, repeat.head_size, len(asked)) > LARGEST_REPEAT:
            return
        before = self._kept.pop(asked, None)
        if before is not None:
            self._size -= _taken(asked, before)
        taken = _taken(asked, repeat)
        if self._size + taken > _MOST:
            self._kept.clear()
            self._size = 0
        self._size += taken
        self._kept[asked] = repeat


def _taken(asked: bytes, repeat: Repeat[Head]) -> int:
    return repeat.size + repeat.head_size + len(asked) + _OVERHEAD
