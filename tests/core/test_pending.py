"""Every awaited response has one owner and is delivered once."""

from __future__ import annotations

from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse


class ImmediateLoop:
    """A loop that runs callbacks at once."""

    def call_soon_threadsafe(self, callback, *args):
        callback(*args)


def pending(answers, **fields):
    return Pending(InferRequest("m"), 1, 0, ImmediateLoop(), answers.append, **fields)


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


def test_one_answer_waits_for_its_final_flag():
    answers, seen = [], []
    owner = pending(answers, one_answer=True)
    owner.observe = lambda _, response: seen.append(response.id)
    owner.deliver(InferResponse(id="early", final=False))
    assert answers == []
    owner.deliver(InferResponse(id="end", empty=True))
    assert [(answer.id, answer.final, answer.empty) for answer in answers] == [("early", True, False)]
    assert seen == ["early", "end"]
    assert owner.responses == 1


def test_one_answer_gives_way_to_a_final_one_that_holds_something():
    answers = []
    owner = pending(answers, one_answer=True)
    owner.deliver(InferResponse(id="early", final=False))
    owner.deliver(InferResponse(id="last"))
    assert [answer.id for answer in answers] == ["last"]


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
