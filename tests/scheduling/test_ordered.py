"""Responses leave in the order in which the requests came; what is known of the execution is known at once."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from slipway.core.request import InferResponse
from slipway.core.statistics import ModelStatistics, Timing
from slipway.core.watched import WatchedPending
from slipway.scheduling.batcher import Fifo
from slipway.scheduling.driver import InstanceScheduler
from slipway.scheduling.ordered import OrderedScheduler, ReorderBuffer
from tests.scheduling.fakes import Client, HeldInstance, signature_of


def test_a_late_answer_holds_back_the_ones_behind_it():
    buffer = ReorderBuffer()
    for place in "abc":
        buffer.admit(place)
    assert buffer.answer("c", 3, final=True) == []
    assert buffer.answer("a", 1, final=True) == [("a", 1)]
    assert buffer.answer("b", 2, final=True) == [("b", 2), ("c", 3)]
    assert len(buffer) == 0


def test_the_first_in_line_passes_each_of_its_answers_on():
    buffer = ReorderBuffer()
    buffer.admit("a")
    buffer.admit("b")
    assert buffer.answer("b", 10, final=False) == []
    assert buffer.answer("a", 1, final=False) == [("a", 1)]
    assert buffer.answer("a", 2, final=True) == [("a", 2), ("b", 10)]
    assert buffer.answer("b", 11, final=True) == [("b", 11)]


def test_a_withdrawn_place_lets_the_others_pass():
    buffer = ReorderBuffer()
    buffer.admit("a")
    buffer.admit("b")
    buffer.answer("b", 1, final=True)
    assert buffer.withdraw("a") == [("b", 1)]
    assert buffer.withdraw("unknown") == []


@given(st.permutations(list(range(12))), st.sets(st.integers(0, 11)))
def test_answers_leave_in_order_of_admission_whatever_order_they_come_in(order, withdrawn):
    buffer = ReorderBuffer()
    for place in range(12):
        buffer.admit(place)
    released = []
    for place in order:
        released += buffer.withdraw(place) if place in withdrawn else buffer.answer(place, place, final=True)
    assert released == [(place, place) for place in range(12) if place not in withdrawn]


class Followed:
    """A watched request to an ordered scheduler with two instances; `seen` is what its watcher and the front see."""

    def __init__(self, *, decoupled: bool) -> None:
        instances = [HeldInstance(), HeldInstance()]
        signature = signature_of(decoupled=decoupled)
        inner = InstanceScheduler(signature, ModelStatistics(), "1", instances=instances, line=Fifo())
        self.client = Client(OrderedScheduler(inner))
        self.client.send("before")
        (self.earlier,) = (instance for instance in instances if instance.started)
        (self.instance,) = (instance for instance in instances if not instance.started)
        plain = self.client.pending("followed")
        self.seen: list[str] = []
        self.client.scheduler.submit(
            WatchedPending(plain.request, 1, plain.arrival_ns, plain.loop, self.front, not decoupled, self)
        )

    def front(self, _: InferResponse) -> None:
        self.seen.append("front")

    def executed(self, _: Timing) -> None:
        self.seen.append("executed")

    def responded(self, _: InferResponse) -> None:
        self.seen.append("responded")

    def ended(self, responses: int) -> None:
        self.seen.append(f"ended after {responses}")


def test_a_watcher_learns_of_an_execution_before_the_response_is_due():
    async def run():
        followed = Followed(decoupled=False)
        followed.instance.finish()
        assert followed.seen == ["executed"]
        followed.earlier.finish()
        assert followed.seen == ["executed", "responded", "front", "ended after 1"]

    asyncio.run(run())


def test_a_request_with_an_early_final_response_ends_with_its_execution():
    async def run():
        followed = Followed(decoupled=True)
        followed.earlier.finish()
        (executed,), _ = followed.instance.started[0]
        executed.deliver(InferResponse())
        assert followed.seen == ["responded", "front"]
        followed.instance.finish([None])
        assert followed.seen == ["responded", "front", "executed", "ended after 1"]

    asyncio.run(run())
