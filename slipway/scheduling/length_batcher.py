"""Dynamic batching of requests of different lengths, for models whose signature has a padding rule.

Pure, like `batcher.py`, whose preferred sizes, delay and timeouts apply here too. A batch is not the head of the queue
but the first request and those nearest to it in length (`length_group.py`), so the first request is always served and
none waits for ever. Backends that stack (`backends/shared/stacked.py`) pad the batch; a python or identity model gets
its requests unpadded, as a list, and batches them itself: for these this only groups requests of similar length.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from slipway.scheduling.batcher import Batcher, BatchRules
from slipway.scheduling.length_group import Item, LengthGroup, LengthLimits
from slipway.scheduling.queue import RequestQueue

WINDOW: Final = 256  # waiting requests considered for one batch; more would cost time without finding nearer ones


class LengthBatcher(Batcher[Item]):
    """A batcher that groups by length. At most `max_share` of a batch's tokens are padding, and a batch of several
    requests has at most `max_tokens` (0: no limit)."""

    def __init__(self, rules: BatchRules, queue: RequestQueue[Item], *, max_share: float, max_tokens: int = 0) -> None:
        super().__init__(rules, queue)
        self._limits = LengthLimits(self._max_rows, self._preferred, max_share, max_tokens)

    def _candidates(self) -> tuple[list[Item], int, int, int, bool]:
        """Return the first request's group in the form of `Batcher._candidates`; more urgent levels come first."""
        group: LengthGroup[Item] | None = None
        enqueued: dict[Item, int] = {}
        for tier in self._queue.tiers():
            entries = list(islice(tier, WINDOW - len(enqueued)))
            enqueued.update(entries)
            items = [item for item, _ in entries]
            if group is None:
                group = LengthGroup(items.pop(0), self._limits)
            group.extend([item for item in items if item.merge_key.key == group.key])
            if len(enqueued) >= WINDOW or group.rows >= self._max_rows:
                break
        if group is None:
            return [], 0, 0, 0, False
        oldest = min(enqueued[item] for item in group.items)
        return group.items, group.rows, group.preferred, oldest, group.full
