"""A watched request: its watcher learns of the execution, of each response before the front, and of the end once."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor
from slipway.core.watched import WatchedPending

TIMING = Timing(1, 2, 3, 4)


class Loop:
    def call_soon_threadsafe(self, callback, *args):
        callback(*args)


class Followed:
    """A watched request that notes in one list what the watcher and the front see."""

    def __init__(self, *, one_answer: bool = True) -> None:
        self.seen: list[object] = []
        self.pending = WatchedPending(InferRequest("m"), 1, 0, Loop(), self.front, one_answer, self)

    def front(self, _: InferResponse) -> None:
        self.seen.append("front")

    def executed(self, timing: Timing) -> None:
        self.seen.append(timing)

    def responded(self, response: InferResponse) -> None:
        self.seen.append("error" if response.error else "response")

    def ended(self, responses: int) -> None:
        self.seen.append(responses)


def executing(pending: Pending, _: InferResponse) -> None:
    """What a scheduler's `observe` stands for: the request is being executed."""


def test_the_end_follows_the_final_response():
    followed = Followed()
    followed.pending.timing = TIMING
    followed.pending.deliver(InferResponse())
    followed.pending.deliver(InferResponse())
    assert followed.seen == [TIMING, "response", "front", 1]


def test_a_model_that_answers_early_ends_with_its_execution():
    followed = Followed(one_answer=False)
    followed.pending.observe = executing
    for _ in range(2):
        followed.pending.deliver(InferResponse(final=False))
    followed.pending.deliver(InferResponse(empty=True))
    assert followed.seen == ["response", "front"] * 3
    followed.pending.timing = TIMING
    assert followed.seen[6:] == [TIMING, 2]


def test_a_request_that_is_refused_before_its_execution_ends_at_once():
    followed = Followed()
    followed.pending.observe = None  # as `Completion.refuse` does
    followed.pending.deliver(InferResponse())
    assert followed.seen == ["response", "front", 1]


def test_a_front_that_fails_does_not_keep_the_end_from_the_watcher():
    followed = Followed()

    def fail(response: InferResponse) -> None:
        raise OSError("broken")

    pending = WatchedPending(InferRequest("m"), 1, 0, Loop(), fail, True, followed)
    with pytest.raises(OSError, match="broken"):
        pending.deliver(InferResponse())
    assert followed.seen == ["response", 1]


def test_an_answered_request_is_in_no_cycle_of_references():
    gc.disable()
    try:
        seen: list[InferResponse] = []
        followed = Followed()
        pending = WatchedPending(InferRequest("m"), 1, 0, Loop(), seen.append, True, followed)
        held = np.zeros(1)
        pending.request.inputs["x"] = Tensor.from_array("x", held)
        array = weakref.ref(held)
        del held
        pending.deliver(InferResponse())
        del pending
        assert array() is None
    finally:
        gc.enable()
