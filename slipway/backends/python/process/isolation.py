"""Split a batch with suspects into parts: each suspect is executed alone, a convicted request not at all.

The parts are executed one after another; the scheduler sees one batch with one outcome. A batch of sequences is never
split: a model may know them by their rows, and a part would have others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import monotonic_ns

from slipway.backends.instance_api import Finished, Outcome
from slipway.backends.python.suspects import DEATHS, Suspects
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing
from slipway.errors import Code, FailureReason, SlipwayError

Part = tuple[Sequence[Pending], Finished]


def parts(batch: Sequence[Pending], finished: Finished, suspects: Suspects, name: str) -> Iterator[Part]:
    """Yield the parts to execute on instance `name`; refuse what may not be executed. `finished` is called once."""
    deaths = [suspects.deaths(pending.request) for pending in batch]
    if not any(deaths):
        yield batch, finished
        return
    others = [index for index, count in enumerate(deaths) if not count]
    groups = [others] if others else []
    groups += [[index] for index, count in enumerate(deaths) if 0 < count < DEATHS]
    joint = _Joint(len(batch), len(groups), finished)
    for index, count in enumerate(deaths):
        if count >= DEATHS:
            joint.responses[index] = InferResponse(error=_convicted(name))
    if not groups:
        now = monotonic_ns()
        finished(Outcome(joint.responses, Timing(now, now, now, now)))
    for group in groups:
        yield [batch[index] for index in group], partial(joint.finish, group)


def _convicted(name: str) -> SlipwayError:
    text = f"The process of model instance '{name}' died on this request {DEATHS} times; the request is refused."
    return SlipwayError(Code.INVALID_ARG, text, reason=FailureReason.REJECTED)


class _Joint:
    """Collects the outcomes of the parts of a batch."""

    __slots__ = ("_finished", "_open", "_timing", "responses")

    def __init__(self, size: int, parts: int, finished: Finished) -> None:
        self.responses: list[InferResponse | None] = [None] * size
        self._open = parts
        self._finished = finished
        self._timing: Timing | None = None

    def finish(self, group: Sequence[int], outcome: Outcome) -> None:
        """Take the outcome of the requests at the indices `group`; after the last one, the batch is finished."""
        for index, response in zip(group, outcome.responses, strict=True):
            self.responses[index] = response
        one, other = outcome.timing, self._timing or outcome.timing
        self._timing = Timing(
            min(one.start, other.start),
            min(one.input_end, other.input_end),
            max(one.output_start, other.output_start),
            max(one.end, other.end),
        )
        self._open -= 1
        if not self._open:
            self._finished(Outcome(self.responses, self._timing))
