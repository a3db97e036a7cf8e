"""The queue of explained requests: each gets the waits of its own time in it, and it ends when nobody is left."""

from __future__ import annotations

import pytest

from slipway.core.explanation import Explanation, Wait
from slipway.core.padding import PaddedInput, PaddingRule
from slipway.core.pending import Pending
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.scheduling import explained
from slipway.scheduling.completion import Completion
from slipway.scheduling.explained import ExplainedQueue
from slipway.scheduling.pool import InstancePool
from tests.scheduling.fakes import HeldInstance


class NoLoop:
    """The event loop of requests that nobody answers."""

    def call_soon_threadsafe(self, callback, *_):
        raise AssertionError(callback)


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only element is the time."""
    now = [1000]
    monkeypatch.setattr(explained, "monotonic_ns", lambda: now[0])
    return now


def pending(explanation: Explanation | None = None, *, rows: int = 1, length: int = 2) -> Pending:
    inputs = {"A": Tensor("A", "BOOL", (rows, length), raw=bytes(rows * length))}
    request = InferRequest("m", inputs=inputs, explanation=explanation)
    return Pending(request, rows, 0, NoLoop(), lambda _: None)


def test_each_request_has_the_waits_since_it_came(clock):
    queue, early, late = ExplainedQueue(), Explanation(), Explanation()
    early.wait(Wait.SLOT, 900)
    queue.add(early)
    queue.wait(Wait.INSTANCE)
    clock[0] = 1010
    queue.add(late)
    clock[0] = 1030
    queue.wait(Wait.BATCH)
    clock[0] = 1035
    queue.begin([pending(early)], "m_0", None)
    clock[0] = 1040
    queue.begin([pending(), pending(late, rows=3)], "m_1", None)
    assert early.waits == {Wait.SLOT: 100, Wait.INSTANCE: 30, Wait.BATCH: 5}
    assert late.waits == {Wait.INSTANCE: 20, Wait.BATCH: 10}
    assert (late.instance, late.batch_requests, late.batch_rows, late.padding) == ("m_1", 2, 4, None)
    assert queue.is_empty


def test_a_batch_without_explained_requests_changes_nothing(clock):
    queue, waiting = ExplainedQueue(), Explanation()
    queue.add(waiting)
    queue.begin([pending()], "m_0", None)
    assert not queue.is_empty
    queue.forget(Explanation())
    queue.forget(waiting)
    assert queue.is_empty


def test_the_padding_is_that_of_the_batch(clock):
    queue, one = ExplainedQueue(), Explanation()
    queue.add(one)
    rule = PaddingRule((PaddedInput("A", 0, (1,)),))
    queue.begin([pending(one, rows=2, length=2), pending(length=5)], "m_0", rule)
    assert one.padding == (9, 6)


def test_a_pool_follows_requests_only_while_there_are_any():
    signature = ModelSignature("m", 4, {}, {})
    completion = Completion(signature, ModelStatistics(), "1", lambda: None)
    pool = InstancePool([HeldInstance()], completion, lambda: None, pipelined=False)
    assert pool.explained is None
    first, second = Explanation(), Explanation()
    pool.explain(first)
    pool.explain(second)
    pool.forget(None)
    pool.forget(first)
    assert pool.explained is not None
    pool.note_begin([pending(second)], "m_0")
    assert pool.explained is None
    pool.explain(first)
    pool.forget(first)
    assert pool.explained is None
