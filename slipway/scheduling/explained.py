"""Notes what the requests in a model's queue wait for, if they ask to be explained, and in which batch they begin.

A queue exists only while there are such requests. Decides nothing. All that wait in a queue wait for the same, so the
time is added up once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

from slipway.core.explanation import Explanation, Wait
from slipway.core.padding import PaddingRule, count_tokens
from slipway.core.pending import Pending


class ExplainedQueue:
    """The requests of one model that ask to be explained and have not begun to execute."""

    __slots__ = ("_open", "_reason", "_since_ns", "_totals")

    def __init__(self) -> None:
        self._open: dict[Explanation, dict[Wait, int]] = {}  # with the totals when each came
        self._totals: dict[Wait, int] = {}  # ns
        self._reason: Wait | None = None  # nothing is known before the first `wait`
        self._since_ns = 0

    @property
    def is_empty(self) -> bool:
        """Whether no request is left."""
        return not self._open

    def add(self, explanation: Explanation) -> None:
        """Add a request that has come to the queue: what it waited for before is over."""
        now = monotonic_ns()
        explanation.stop_waiting(now)
        self._add_up(now)
        self._open[explanation] = dict(self._totals)

    def wait(self, reason: Wait) -> None:
        """Note what the requests wait for from now on."""
        self._add_up(monotonic_ns())
        self._reason = reason

    def forget(self, explanation: Explanation) -> None:
        """Drop a request that will not execute; harmless for any other."""
        self._open.pop(explanation, None)

    def begin(self, batch: Sequence[Pending], instance: str, rule: PaddingRule | None) -> None:
        """Note that `batch` is given to `instance`."""
        found = [pending.request.explanation for pending in batch]
        explained = [each for each in found if each is not None]
        if not explained:
            return
        now = monotonic_ns()
        self._add_up(now)
        members = [pending for pending in batch if not pending.finished]  # the others are placeholders of sequences
        rows = sum(pending.rows for pending in members)
        padding = None
        if rule is not None:
            inputs = [pending.request.inputs for pending in batch]
            padding = count_tokens([pending.rows for pending in batch], inputs, rule)
        for each in explained:
            before = self._open.pop(each, self._totals)
            for wait, total in self._totals.items():
                each.waited(wait, total - before.get(wait, 0))
            each.started(instance, len(members), rows, padding, now)

    def _add_up(self, now: int) -> None:
        if self._reason is not None:
            self._totals[self._reason] = self._totals.get(self._reason, 0) + now - self._since_ns
        self._since_ns = now
