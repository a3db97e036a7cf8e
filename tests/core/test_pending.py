"""Every awaited answer has one owner and is given once."""

from __future__ import annotations

from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse


class ImmediateLoop:
    """A loop whose soon is now."""

    def call_soon_threadsafe(self, callback, *args):
        callback(*args)


def pending(answers):
    return Pending(InferRequest("m"), 1, 0, ImmediateLoop(), answers.append)


def test_nothing_is_delivered_after_the_final_answer():
    answers = []
    owner = pending(answers)
    owner.deliver(InferResponse(id="1", final=False))
    owner.send(InferResponse(id="2"))
    owner.deliver(InferResponse(id="3"))
    assert [answer.id for answer in answers] == ["1", "2"]
    assert owner.finished


def test_an_empty_final_answer_closes_without_counting():
    answers = []
    owner = pending(answers)
    owner.deliver(InferResponse(empty=True))
    assert owner.finished
    assert owner.responses == 0


def test_cancelling_runs_each_action_once():
    ran = []
    owner = pending([])
    owner.on_cancel(lambda: ran.append("before"))
    owner.cancel()
    owner.cancel()
    owner.on_cancel(lambda: ran.append("after"))
    assert ran == ["before", "after"]


def test_cancelling_an_answered_request_does_nothing():
    ran = []
    owner = pending([])
    owner.on_cancel(lambda: ran.append(1))
    owner.deliver(InferResponse())
    owner.cancel()
    assert not ran
    assert not owner.cancelled
