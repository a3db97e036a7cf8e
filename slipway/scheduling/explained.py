"""Notes where the requests that ask to be explained wait, and in which batch they begin to execute.

Only called if there are such requests. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

from slipway.core.explanation import Explanation, Wait
from slipway.core.padding import PaddingRule, count_tokens
from slipway.core.pending import Pending


def note_start(open_: list[Explanation], batch: Sequence[Pending], instance: str, rule: PaddingRule | None) -> None:
    """Note that `batch` is given to `instance`; its requests are not in `open_` any more."""
    found = [pending.request.explanation for pending in batch]
    explained = [each for each in found if each is not None]
    if not explained:
        return
    now = monotonic_ns()
    members = [pending for pending in batch if not pending.finished]  # the others are placeholders of sequences
    rows = sum(pending.rows for pending in members)
    padding = None
    if rule is not None:
        padding = count_tokens([pending.rows for pending in batch], [pending.request.inputs for pending in batch], rule)
    for each in explained:
        each.started(instance, len(members), rows, padding, now)
    open_[:] = [each for each in open_ if each not in explained]


def note_waits(open_: list[Explanation], reason: Wait) -> None:
    """Note what the requests that wait in a model's queue wait for; those that were refused are forgotten."""
    now = monotonic_ns()
    open_[:] = [each for each in open_ if not each.is_over]
    for each in open_:
        each.wait(reason, now)
