"""The endless sequence of training batches: seeded, resumable at any batch, the same for any number of processes.

A position is three numbers. The order within a pool depends only on the seed, the epoch and the pool, so a stream that
begins at a position yields what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from slipway.errors import invalid
from slipway.train.batches import BatchingRule, cut_batches
from slipway.train.pairs import Dropped, PairSource, Pool, read_pools


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has been read: whole epochs, pools of this epoch, batches of this pool."""

    epoch: int = 0
    pool: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's rows of a batch: ids int64 [rows, length], 0 after the end. `tokens` counts the target tokens of
    all processes' rows, `following` is the position after the batch."""

    inputs: np.ndarray
    targets: np.ndarray
    tokens: int
    following: Position

    @property
    def read_tokens(self) -> int:
        """The tokens of both sides in this process's rows, without padding."""
        return int(np.count_nonzero(self.inputs) + np.count_nonzero(self.targets))


@dataclass(frozen=True, slots=True)
class Share:
    """Which rows of each batch a process gets: every `processes`-th one, from `rank`."""

    rank: int = 0
    processes: int = 1


@dataclass(slots=True)
class BatchStream:
    """The batches of a corpus. `dropped` counts what the latest reading left out."""

    source: PairSource
    rule: BatchingRule
    seed: int
    share: Share = field(default_factory=Share)
    dropped: Dropped = field(default_factory=Dropped)
    _whole: Pool | None = None  # the corpus, if one pool holds it

    def batches(self, position: Position | None = None) -> Iterator[Batch]:
        """Yield batches for ever, from `position` on; raise INVALID_ARG if there is no pair of a usable length."""
        at = position or Position()
        while True:
            for index, pool in enumerate(self._pools()):
                if index >= at.pool:
                    yield from self._of_pool(pool, Position(at.epoch, index, at.batch if index == at.pool else 0))
            at = Position(at.epoch + 1)

    def _pools(self) -> Iterator[Pool]:
        if self._whole is not None:
            yield self._whole
            return
        self.dropped = Dropped()
        pool, count = None, 0
        for count, pool in enumerate(read_pools(self.source, self.rule, self.dropped), 1):  # noqa: B007
            yield pool
        if pool is None:
            raise invalid(
                f"there is no pair to train on: {self.dropped.too_long} have more than {self.rule.longest} tokens "
                f"(max_length), {self.dropped.too_short} fewer than {self.rule.shortest} (min_length)"
            )
        if count == 1:
            self._whole = pool

    def _of_pool(self, pool: Pool, at: Position) -> Iterator[Batch]:
        batches = cut_batches(pool.lengths, self.rule, np.random.default_rng([self.seed, at.epoch, at.pool]))
        for index in range(at.batch, len(batches)):
            rows = batches[index]
            own = rows[self.share.rank :: self.share.processes]
            last = index + 1 == len(batches)
            following = Position(at.epoch, at.pool + 1) if last else Position(at.epoch, at.pool, index + 1)
            tokens = int(pool.targets.lengths[rows].sum())
            yield Batch(pool.inputs.padded(own), pool.targets.padded(own), tokens, following)


def evaluation_batches(source: PairSource, rule: BatchingRule, share: Share) -> Iterator[Batch]:
    """Yield the batches of a corpus once, with pairs of all lengths, in an order that never changes."""
    for number, pool in enumerate(read_pools(source, rule, Dropped(), all_lengths=True)):
        for rows in cut_batches(pool.lengths, rule, np.random.default_rng([0, number])):
            own = rows[share.rank :: share.processes]
            tokens = int(pool.targets.lengths[rows].sum())
            yield Batch(pool.inputs.padded(own), pool.targets.padded(own), tokens, Position())
