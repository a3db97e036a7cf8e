"""`max_inflight_requests`: places of steps as values, and ensembles whose steps wait for them."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.request import InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, internal
from slipway.scheduling.ensemble_limits import StepLimits
from tests.scheduling.fakes import signature_of
from tests.scheduling.test_ensemble import CHAIN, Server


class Request:
    """Records its turn; with `limits` it also ends at once."""

    def __init__(self, log, name, limits=None):
        self.log, self.name, self.limits = log, name, limits

    def begin(self):
        self.log.append(self.name)
        if self.limits is not None:
            self.limits.leave(0)


def test_places_are_taken_and_the_first_in_line_is_served_first():
    limits, log = StepLimits(2), []
    assert [limits.enter(0, Request(log, n)) for n in range(5)] == [True, True, False, False, False]
    assert limits.enter(1, Request(log, "other step"))
    limits.leave(0)
    limits.leave(0)
    assert log == [2, 3]


def test_a_request_that_gave_up_is_passed_over():
    limits, log = StepLimits(1), []
    requests = [Request(log, n) for n in range(3)]
    for each in requests:
        limits.enter(0, each)
    limits.forget(0, requests[1])
    limits.forget(0, requests[1])
    limits.leave(0)
    assert log == [2]


def test_any_number_of_requests_may_end_at_once():
    limits, log = StepLimits(1), []
    limits.enter(0, Request(log, "first"))
    for number in range(5000):
        limits.enter(0, Request(log, number, limits))
    limits.leave(0)
    assert log == list(range(5000))
    assert limits.enter(0, Request(log, "again"))


@given(st.integers(1, 3), st.lists(st.sampled_from(["enter", "leave", "forget"]), max_size=60))
def test_no_place_is_taken_twice_or_lost_and_nobody_is_overtaken(most, events):
    limits, log = StepLimits(most), []
    running, waiting = [], []
    for number, event in enumerate(events):
        if event == "enter":
            request = Request(log, number)
            (running if limits.enter(0, request) else waiting).append(request)
        elif event == "forget" and waiting:
            limits.forget(0, waiting.pop())
        elif event == "leave" and running:
            running.pop()
            limits.leave(0)
            if waiting:
                running.append(waiting.pop(0))
                assert log[-1] == running[-1].name
        assert len(running) == min(most, len(running) + len(waiting))


def limited(server, most, steps=CHAIN, signature=None):
    server.max_inflight_requests = most
    return server.ensemble(steps, signature or signature_of("e"))


def test_a_step_has_no_more_requests_in_flight_than_the_ensemble_allows():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b")
        client, statistics = limited(server, 2)
        for number in range(5):
            client.send(f"r{number}")

        def submitted():
            return [request.id for request in server.requests if request.model_name == "b"]

        assert submitted() == ["r0", "r1"]
        held.finish()
        assert submitted() == ["r0", "r1", "r2"]
        while held.started:
            held.finish()
        assert client.order == [f"r{number}" for number in range(5)]
        assert client.output("r4") == [[4.0, 8.0]]
        assert statistics.success.count == 5
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_failure_frees_the_place_and_a_cancelled_request_leaves_the_line():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b")
        client, statistics = limited(server, 1)
        client.send("fails")
        cancelled = client.send("is cancelled")
        client.send("succeeds")
        cancelled.cancel()
        held.finish([InferResponse(error=internal("bad", reason=FailureReason.BACKEND))])
        assert held.batches == [["fails"], ["succeeds"]]
        held.finish()
        assert client.error("fails").message == "in ensemble 'e', bad"
        assert client.output("succeeds") == [[4.0, 8.0]]
        assert statistics.failures[FailureReason.OTHER] == 1
        assert statistics.failures[FailureReason.CANCELED] == 1
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_cancelled_step_keeps_its_place_until_its_model_has_let_go_of_it():
    async def run():
        server = Server()
        server.double("a")
        held = server.hold("b")
        client, _ = limited(server, 1)
        gone = client.send("gone")
        client.send("next")
        gone.cancel()
        assert held.batches == [["gone"]]
        held.finish()
        assert held.batches == [["gone"], ["next"]]
        held.finish()
        assert client.output("next") == [[4.0, 8.0]]

    asyncio.run(run())


def send(step, *values):
    for value in values:
        output = Tensor.from_array("Y", np.full((1, 2), value, np.float32))
        step.deliver(InferResponse(outputs=[output], final=False))


def test_a_step_with_many_responses_is_held_while_a_later_one_has_no_place():
    async def run():
        server = Server()
        producer = server.hold("a", signature_of("a", decoupled=True))
        consumer = server.hold("b")
        client, _ = limited(server, 1, signature=signature_of("e", decoupled=True))
        client.send("r")
        step = producer.started[0][0][0]
        producer.finish([None])
        passed = []

        def ask(name):
            step.request.pace.when_open(lambda: passed.append(name))

        send(step, 1.0)
        ask("first")
        assert passed == ["first"]
        send(step, 2.0)
        ask("second")
        assert (passed, len(consumer.started)) == (["first"], 1)
        consumer.finish()
        assert (passed, len(consumer.started)) == (["first", "second"], 1)
        step.deliver(InferResponse(empty=True))
        consumer.finish()
        answers = client.answers["r"]
        assert [answer.outputs[0].array.tolist() for answer in answers if answer.outputs] == [[[2, 2]], [[4, 4]]]
        assert answers[-1].final
        await client.scheduler.drain()

    asyncio.run(run())


def test_a_step_with_many_responses_is_not_held_by_its_own_next_request():
    async def run():
        server = Server()
        producer = server.hold("a", signature_of("a", decoupled=True))
        consumer = server.hold("b", signature_of("b", decoupled=True))
        client, _ = limited(server, 1, signature=signature_of("e", decoupled=True))
        client.send("r")
        first = producer.started[0][0][0]
        send(first, 1.0, 2.0)
        passed = []
        first.request.pace.when_open(lambda: passed.append("a"))
        for name in ("b", "b again"):
            second = consumer.started[0][0][0]
            second.request.pace.when_open(partial(passed.append, name))
            send(second, 3.0)
            second.deliver(InferResponse(empty=True))
            consumer.finish([None])
        assert passed == ["b", "a", "b again"]
        first.deliver(InferResponse(empty=True))
        producer.finish([None])
        assert client.order == ["r"]
        await client.scheduler.drain()

    asyncio.run(run())


def test_the_end_of_a_request_lets_its_model_go_on():
    async def run():
        server = Server()
        producer = server.hold("a", signature_of("a", decoupled=True))
        server.hold("b")
        client, _ = limited(server, 1, signature=signature_of("e", decoupled=True))
        pending = client.send("r")
        step = producer.started[0][0][0]
        send(step, 1.0, 2.0)
        passed = []
        step.request.pace.when_open(lambda: passed.append("on"))
        assert passed == []
        pending.cancel()
        assert passed == ["on"]

    asyncio.run(run())


def test_a_model_that_a_later_step_needs_too_is_never_held():
    async def run():
        server = Server()
        producer = server.hold("a", signature_of("a", decoupled=True))
        steps = [("a", {"X": "X"}, {"Y": "m"}), ("a", {"X": "m"}, {"Y": "Y"})]
        client, _ = limited(server, 1, steps, signature_of("e", decoupled=True))
        client.send("r")
        assert producer.started[0][0][0].request.pace is None

    asyncio.run(run())
