"""Answers in the order of the questions (dynamic batching's `preserve_ordering`).

Pure: a place is any distinct hashable value, an answer is anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)
Answer = TypeVar("Answer")


class ReorderBuffer(Generic[Place, Answer]):
    """Holds each answer back until every earlier place has had its final one."""

    def __init__(self) -> None:
        self._held: OrderedDict[Place, list[Answer]] = OrderedDict()
        self._closed: set[Place] = set()  # had their final answer, but are not first in line

    def admit(self, place: Place) -> None:
        """Give `place` the last place in line."""
        self._held[place] = []

    def answer(self, place: Place, answer: Answer, *, final: bool) -> list[tuple[Place, Answer]]:
        """Take an answer; return those that may go out now, in order."""
        self._held[place].append(answer)
        if final:
            self._closed.add(place)
        return self._release()

    def withdraw(self, place: Place) -> list[tuple[Place, Answer]]:
        """Forget a place that needs no answer any more; return those that may go out now."""
        self._held.pop(place, None)
        self._closed.discard(place)
        return self._release()

    def __len__(self) -> int:
        return len(self._held)

    def _release(self) -> list[tuple[Place, Answer]]:
        released: list[tuple[Place, Answer]] = []
        while self._held:
            first = next(iter(self._held))
            released.extend((first, answer) for answer in self._held[first])
            if first not in self._closed:
                self._held[first] = []
                break
            del self._held[first]
            self._closed.discard(first)
        return released
