"""Chooses which waiting requests join the first one in a batch, so that there is little padding.

Pure: items have rows and lengths; nothing here knows queues, clocks or tensors. The batch grows around its first item:
each step adds the next shorter or next longer item, whichever adds less padding, oldest first among equals. The limits
on rows and tokens are never exceeded. A step may exceed the limit on padding, since later steps may reduce the share
again; the batch ends at the last step within the limit. Costs a sort of the candidates and a few sums per step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Generic, NamedTuple, Protocol, TypeVar

from slipway.core.padding import longest
from slipway.scheduling.lengths import Lengths


class Measured(Hashable, Protocol):
    """An item that is batched by length: its rows, and its lengths as the merge key."""

    rows: int

    @property
    def merge_key(self) -> Lengths:
        """The item's lengths; all items of a group have equal `key`."""


Item = TypeVar("Item", bound=Measured)


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """The limits of a batch. `max_tokens` 0 means no limit; a batch of one item may exceed it and `max_rows`."""

    max_rows: int
    preferred_rows: frozenset[int]
    max_share: float
    max_tokens: int = 0


class _Size(NamedTuple):
    """A batch's rows, places (rows, but an empty request takes one too), longest sizes and tokens: its own, and all.

    A named tuple, because several are created per request and a frozen dataclass takes three times as long to create.
    """

    rows: int
    places: int
    sizes: tuple[int, ...]
    own: int
    total: int

    @property
    def padding(self) -> int:
        return self.total - self.own

    def with_item(self, rows: int, lengths: Lengths) -> _Size:
        sizes = self.sizes if lengths.sizes == self.sizes else longest((self.sizes, lengths.sizes))
        count = self.rows + rows
        return _Size(count, self.places + (rows or 1), sizes, self.own + rows * lengths.tokens, count * prod(sizes))


class LengthGroup(Generic[Item]):
    """The batch around `head`; after each `extend`, `items` are the items to execute together.

    The first `preferred` of them make the best preferred size (0: none). All candidates have the head's `key`.
    """

    def __init__(self, head: Item, limits: LengthLimits) -> None:
        lengths = head.merge_key
        own = head.rows * lengths.tokens
        self.key = lengths.key
        self.preferred = int((head.rows or 1) in limits.preferred_rows)
        self._limits = limits
        self._path: list[Item] = [head]  # in the order of joining
        self._kept = 1  # how many of them are kept: up to the last step within the limit on padding
        self._size = _Size(head.rows, head.rows or 1, lengths.sizes, own, own)  # of the kept items
        self._crowded = False

    @property
    def items(self) -> list[Item]:
        """The items of the batch, `head` first."""
        return self._path[: self._kept]

    @property
    def rows(self) -> int:
        """The places that the items take."""
        return self._size.places

    @property
    def full(self) -> bool:
        """Whether an item of suitable length did not fit, or none would fit."""
        size, most = self._size, self._limits.max_tokens
        out_of_tokens = most > 0 and (size.rows + 1) * prod(size.sizes) > most
        return self._crowded or out_of_tokens or size.places >= self._limits.max_rows

    def extend(self, candidates: Sequence[Item]) -> None:
        """Add the `candidates` (oldest first) that fit best."""
        shorter, longer = _neighbours(candidates, prod(self._size.sizes))
        limits, path, size = self._limits, self._path, self._size
        del path[self._kept :]
        while (shorter or longer) and size.places < limits.max_rows:
            item, larger = _cheaper(size, shorter, longer)
            lawful = larger.padding <= limits.max_share * larger.total
            keeps = lawful and self._kept == len(path)  # all earlier items are kept too
            if not _has_room(larger, limits):
                self._crowded |= keeps
                continue
            if keeps and not self.preferred and larger.places > max(limits.preferred_rows):
                self.preferred = self._kept
            path.append(item)
            size = larger
            if lawful:
                self._keep(size)

    def _keep(self, size: _Size) -> None:
        self._kept = len(self._path)
        self._size = size
        if size.places in self._limits.preferred_rows:
            self.preferred = self._kept


def _has_room(size: _Size, limits: LengthLimits) -> bool:
    return size.places <= limits.max_rows and (not limits.max_tokens or size.total <= limits.max_tokens)


def _tokens(item: Measured) -> int:
    return item.merge_key.tokens


def _neighbours(candidates: Sequence[Item], tokens: int) -> tuple[list[Item], list[Item]]:
    """Return the candidates shorter than `tokens`, and the others: nearest last, and the oldest last among equals."""
    shorter = sorted((item for item in candidates if _tokens(item) < tokens), key=_tokens, reverse=True)
    longer = sorted((item for item in candidates if _tokens(item) >= tokens), key=_tokens)
    return shorter[::-1], longer[::-1]


def _cheaper(size: _Size, shorter: list[Item], longer: list[Item]) -> tuple[Item, _Size]:
    """Take the next item from the side that adds less padding; return it with the size of the resulting batch."""
    offers = [(size.with_item(side[-1].rows, side[-1].merge_key), side) for side in (shorter, longer) if side]
    larger, side = min(offers, key=lambda offer: offer[0].padding)
    return side.pop(), larger
